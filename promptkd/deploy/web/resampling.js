"use strict";
/* Resizing as Pillow does it, to the bit: the page's pixels are then those that the model was tested with. A canvas
   resizes otherwise, and each browser in its way.

   What Pillow does (libImaging/Resample.c): one pass over the columns, one over the rows, each rounded to 8 bits;
   weights are widened by the reduction (which is why it does not alias), normalised to sum 1 and rounded to 22 bits
   behind the point. Bicubic is Keys' kernel with a = -1/2 (Keys, 1981, equation 4). */

const PRECISION = 22; // bits behind the point of a weight

const KERNELS = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at(x) {
      const a = -0.5, d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
};

/* For each of `wanted` outputs of a row of `length` values: the first input that counts, and the whole-number weights. */
function weightsOf(length, wanted, kernel) {
  const scale = length / wanted, widened = Math.max(scale, 1), support = kernel.support * widened;
  const all = [];
  for (let out = 0; out < wanted; out++) {
    const centre = (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(length, Math.trunc(centre + support + 0.5));
    const raw = [];
    for (let at = first; at < end; at++) raw.push(kernel.at((at - centre + 0.5) * (1 / widened)));
    const sum = raw.reduce((total, one) => total + one, 0);
    const weights = raw.map((one) => {
      const whole = (sum === 0 ? one : one / sum) * 2 ** PRECISION;
      return Math.trunc(whole < 0 ? whole - 0.5 : whole + 0.5);
    });
    all.push({ first, weights });
  }
  return all;
}

/* One pass: `lines` lines of `length` pixels, a pixel every `step` and a line every `stride` bytes of `from`; the
   result's likewise. Three channels. */
function pass(from, length, step, lines, stride, wanted, newStep, newStride, kernel) {
  const to = new Uint8ClampedArray(3 * wanted * lines);
  weightsOf(length, wanted, kernel).forEach(({ first, weights }, out) => {
    for (let line = 0; line < lines; line++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** (PRECISION - 1), at = line * stride + first * step + channel;
        for (let tap = 0; tap < weights.length; tap++, at += step) sum += from[at] * weights[tap];
        to[line * newStride + out * newStep + channel] = sum >> PRECISION; // the array clamps to 0 and 255
      }
    }
  });
  return to;
}

/* The nearest pixels: coordinates are added up from half a step, as Pillow's do, rounding included. */
function nearest(pixels, width, height, newWidth, newHeight) {
  const places = (length, wanted) => {
    const all = [];
    for (let out = 0, at = length / wanted / 2; out < wanted; out++, at += length / wanted) all.push(Math.trunc(at));
    return all;
  };
  const columns = places(width, newWidth), to = new Uint8ClampedArray(3 * newWidth * newHeight);
  let at = 0;
  for (const y of places(height, newHeight)) {
    for (const x of columns) for (let channel = 0; channel < 3; channel++) to[at++] = pixels[3 * (y * width + x) + channel];
  }
  return to;
}

/* (height, width, 3) bytes of RGB -> (newHeight, newWidth, 3). */
function resized(pixels, width, height, newWidth, newHeight, interpolation) {
  if (width === newWidth && height === newHeight) return pixels;
  if (interpolation === "nearest") return nearest(pixels, width, height, newWidth, newHeight);
  const kernel = KERNELS[interpolation];
  if (width !== newWidth) {
    pixels = pass(pixels, width, 3, height, 3 * width, newWidth, 3, 3 * newWidth, kernel);
  }
  if (height !== newHeight) {
    const row = 3 * newWidth;
    pixels = pass(pixels, height, row, newWidth, 3, newHeight, row, 3, kernel);
  }
  return pixels;
}

/* A half is rounded to the even number, as Python does. */
function roundHalfEven(value) {
  const below = Math.floor(value), rest = value - below;
  return rest === 0.5 ? below + (below % 2) : Math.round(value);
}

/* (height, width, 3) bytes -> the model's input (H, W, 3): the shorter side is resized, the centre cut out, and where
   the image is smaller there is black around it. */
function modelPixels(pixels, width, height, { size: [high, wide], resize, interpolation }) {
  const upright = width <= height;
  const newWidth = upright ? resize : Math.trunc((resize * width) / height);
  const newHeight = upright ? Math.trunc((resize * height) / width) : resize;
  const whole = resized(pixels, width, height, newWidth, newHeight, interpolation);
  const before = (wanted, has) => Math.trunc(Math.max(0, wanted - has) / 2);
  const first = (wanted, has) => roundHalfEven((Math.max(wanted, has) - wanted) / 2) - before(wanted, has);
  const top = first(high, newHeight), left = first(wide, newWidth), cut = new Uint8Array(3 * high * wide);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const fromY = y + top, fromX = x + left;
      if (fromY < 0 || fromX < 0 || fromY >= newHeight || fromX >= newWidth) continue;
      for (let c = 0; c < 3; c++) cut[3 * (y * wide + x) + c] = whole[3 * (fromY * newWidth + fromX) + c];
    }
  }
  return cut;
}
