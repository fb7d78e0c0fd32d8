"use strict";
/* The page: a dropped, chosen or pasted image becomes the model's input, and its answer bars. Nothing leaves the page. */

const about = JSON.parse(document.getElementById("about").textContent);
const MOST_PIXELS = 64e6; // of a dropped image: decoded it takes eight bytes a pixel
const TOP = 5;
const status = document.getElementById("status"), zone = document.getElementById("zone");
const preview = document.getElementById("preview"), list = document.getElementById("answer");

/* The bytes that stand as base64 in an element, which is emptied. */
function bytesOf(id) {
  const parts = [...document.querySelectorAll(`[data-part="${id}"]`)].map((element) => {
    const text = element.textContent;
    element.remove();
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const packed = atob(text), bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
    return bytes;
  });
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

/* Bytes that were packed by gzip, as they were. */
async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* The runtime with the model in it. */
async function start() {
  const code = new Blob([await unpacked(bytesOf("runtime"))], { type: "text/javascript" });
  const address = URL.createObjectURL(code);
  const ort = await import(address);
  URL.revokeObjectURL(address);
  ort.env.wasm.numThreads = 1; // threads need headers that a file on a disk does not have
  ort.env.wasm.wasmBinary = (await unpacked(bytesOf("wasm"))).buffer;
  const session = await ort.InferenceSession.create(bytesOf("model"), { executionProviders: ["wasm"] });
  return { ort, session };
}

/* An image file -> its RGB pixels, upright, transparent parts white; colours as they are stored, as Pillow reads them. */
async function pixelsOf(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  const { width, height } = bitmap;
  try {
    if (width * height > MOST_PIXELS) throw new Error(`${width} x ${height} pixels are too many`);
    if (Math.max(width, height) > 200 * Math.min(width, height)) throw new Error("one side is over 200 times the other");
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    const rgb = new Uint8ClampedArray(3 * width * height);
    for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
      rgb[to] = data[from]; rgb[to + 1] = data[from + 1]; rgb[to + 2] = data[from + 2];
    }
    return { rgb, width, height };
  } finally {
    bitmap.close();
  }
}

/* RGB pixels -> the probability of each class. */
async function probabilitiesOf({ ort, session }, { rgb, width, height }) {
  const [high, wide] = about.preprocessing.size;
  const input = new ort.Tensor("uint8", modelPixels(rgb, width, height, about.preprocessing), [1, high, wide, 3]);
  const output = await session.run({ [about.input]: input }, [about.output]);
  return Array.from(output[about.output].data, Number);
}

/* The likeliest classes as bars. */
function show(probabilities) {
  const order = probabilities.map((value, label) => [value, label]).sort((one, other) => other[0] - one[0]);
  list.replaceChildren(...order.slice(0, TOP).map(([value, label]) => {
    const [row, name, number, track, bar] = ["li", "span", "b", "div", "div"].map((kind) => document.createElement(kind));
    name.textContent = about.classes[label];
    number.textContent = `${(100 * value).toFixed(1)} %`;
    bar.style.width = `${100 * value}%`;
    track.append(bar);
    row.append(name, number, track);
    row.dataset.probability = String(value);
    return row;
  }));
}

const model = start();
model.then(
  () => { status.textContent = "Drop an image here, paste it, or choose a file."; document.body.dataset.state = "ready"; },
  (error) => { status.textContent = `The model did not start: ${error.message}`; document.body.dataset.state = "failed"; },
);

let asked = 0;
async function classify(file) {
  const number = ++asked;
  document.body.dataset.state = "busy";
  status.textContent = "Looking ...";
  try {
    const loaded = await model;
    const begin = performance.now();
    let pixels;
    try {
      pixels = await pixelsOf(file);
    } catch (error) {
      throw new Error(error instanceof DOMException ? "it is no image that this browser reads" : error.message);
    }
    const probabilities = await probabilitiesOf(loaded, pixels);
    if (number !== asked) return; // another image came meanwhile
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.alt = file.name || "the image";
    preview.hidden = false;
    show(probabilities);
    status.textContent = `${file.name || "the image"}: ${Math.round(performance.now() - begin)} ms`;
    document.body.dataset.state = "done";
  } catch (error) {
    if (number !== asked) return;
    list.replaceChildren();
    preview.hidden = true;
    status.textContent = `${file.name || "the image"} was not classified: ${error.message}`;
    document.body.dataset.state = "refused";
  }
}

document.getElementById("file").addEventListener("change", (event) => {
  if (event.target.files.length) classify(event.target.files[0]);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  if (event.dataTransfer.files.length) classify(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) classify(event.clipboardData.files[0]);
});
