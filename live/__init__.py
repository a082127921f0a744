"""Live audio: devices, rings, clocks, and the loop from microphone to speaker."""
