// The codec on the audio thread: it posts the model's name, or why there is none.
import { loadCodec } from "./fcs.js";

class Own extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    const tell = (text) => this.port.postMessage(text);
    loadCodec(processorOptions).then(
      (codec) => tell(codec.facts.name),
      (error) => tell(error.message),
    );
  }

  process() {
    return false;
  }
}

registerProcessor("own", Own);
