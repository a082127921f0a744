// Records what the page's worklet plays (input 0) and what the microphone gives it (input 1).
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.played = [];
    this.captured = [];
    this.first = currentFrame;
    this.port.onmessage = () => {
      this.port.postMessage({ first: this.first, parts: [this.played, this.captured] });
    };
  }

  process([played, captured]) {
    if (!this.played.length) this.first = currentFrame;
    const silence = new Float32Array(128);
    this.played.push((played[0] ?? silence).slice());
    this.captured.push((captured[0] ?? silence).slice());
    return true;
  }
}
registerProcessor("recorder", Recorder);
