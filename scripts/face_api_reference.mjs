// Descriptors of raw chips by the JavaScript of @vladmandic/face-api itself, on its bundled plain-CPU TensorFlow.js.
//
// Usage: node face_api_reference.mjs <folder of the unpacked npm package> <chips.bin> <vectors.json>
// chips.bin: N x 150 x 150 x 3 bytes, RGB (scripts/face_api_chips.py writes it and calls this script).

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, chipsFile, vectorsFile] = process.argv.slice(2);

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

const model = path.resolve(folder, 'model/face_recognition_model');
const [manifest] = JSON.parse(fs.readFileSync(`${model}-weights_manifest.json`, 'utf8'));
const weights = new Uint8Array(fs.readFileSync(`${model}.bin`));
const net = new faceapi.FaceRecognitionNet();
net.loadFromWeightMap(tf.io.decodeWeights(weights.buffer, manifest.weights));

const size = 150 * 150 * 3;
const chips = fs.readFileSync(chipsFile);
const vectors = [];
for (let first = 0; first < chips.length; first += size) {
  const chip = tf.tensor3d(Float32Array.from(chips.subarray(first, first + size)), [150, 150, 3]);
  vectors.push(Array.from(net.forwardInput(new faceapi.NetInput([chip])).dataSync()));
}
fs.writeFileSync(vectorsFile, JSON.stringify(vectors));
