// What @vladmandic/face-api's own JavaScript makes of raw chips, on its bundled plain-CPU TensorFlow.js.
//
// Usage: node face_api_reference.mjs <folder of the unpacked npm package> <network> <chips.bin> <vectors.json>
// network: descriptor (chips of 150 pixels) or landmarks68 (chips of 112).
// chips.bin: N x side x side x 3 bytes, RGB (scripts/face_api_chips.py writes it and calls this script).

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, network, chipsFile, vectorsFile] = process.argv.slice(2);

// The bundle was built for browsers: under Node it looks for Node modules that were left out of it. Without `process` it
// takes neither platform, and gets a plain one below.
const node = globalThis.process;
globalThis.process = undefined;
const faceapi = await import(pathToFileURL(path.resolve(folder, 'dist/face-api.esm.js')).href);
globalThis.process = node;

const { tf } = faceapi;
tf.env().setPlatform('plain', {
  now: () => performance.now(),
  isTypedArray: (array) => ArrayBuffer.isView(array) && !(array instanceof DataView),
});
await tf.setBackend('cpu');
await tf.ready();

const [file, net, side] = {
  descriptor: ['face_recognition_model', new faceapi.FaceRecognitionNet(), 150],
  landmarks68: ['face_landmark_68_model', new faceapi.FaceLandmark68Net(), 112],
}[network];
const model = path.resolve(folder, 'model', file);
const [manifest] = JSON.parse(fs.readFileSync(`${model}-weights_manifest.json`, 'utf8'));
const weights = new Uint8Array(fs.readFileSync(`${model}.bin`));
net.loadFromWeightMap(tf.io.decodeWeights(weights.buffer, manifest.weights));

const size = side * side * 3;
const chips = fs.readFileSync(chipsFile);
const vectors = [];
for (let first = 0; first < chips.length; first += size) {
  const chip = tf.tensor3d(Float32Array.from(chips.subarray(first, first + size)), [side, side, 3]);
  vectors.push(Array.from(net.forwardInput(new faceapi.NetInput([chip])).dataSync()));
}
fs.writeFileSync(vectorsFile, JSON.stringify(vectors));
