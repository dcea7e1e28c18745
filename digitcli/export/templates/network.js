// The network: layers that compute arrays in the order channel, row, column.

function decodeBytes(text) {
  const characters = atob(text.trim());
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

function readModel() {
  const model = JSON.parse(document.getElementById("model").textContent);
  const bytes = decodeBytes(document.getElementById("weights").textContent);
  for (const layer of model.layers) {
    for (const name of ["weights", "biases"])
      if (layer[name]) layer[name] = new Float32Array(bytes.buffer, layer[name].start, layer[name].count);
  }
  return model;
}

function roundHalfToEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

// Each function computes the output of a layer, Float32Array, from its input.
const KINDS = {
  normalize: (layer, input) => input.map((value) => (value - layer.numbers.mean) / layer.numbers.deviation),
  relu: (layer, input) => input.map((value) => Math.max(value, 0)),
  leaky_relu: (layer, input) => input.map((value) => (value > 0 ? value : layer.numbers.slope * value)),
  quantize(layer, input) {
    const { scale, zero_point } = layer.numbers;
    const single = Math.fround(scale);
    return input.map((value) => {
      const steps = roundHalfToEven(Math.fround(value / single)) + zero_point;
      return (Math.min(Math.max(steps, 0), 255) - zero_point) * single;
    });
  },
  tanh: (layer, input) => input.map(Math.tanh),
  sigmoid: (layer, input) => input.map((value) => 1 / (1 + Math.exp(-value))),

  // Shear the image about its centre of ink until its strokes stand upright. Rows and columns are from -1 to 1.
  deslant(layer, input) {
    const side = layer.shape[1];
    const half = (side - 1) / 2;
    const row = (i) => Math.floor(i / side) / half - 1;
    const column = (i) => (i % side) / half - 1;
    const sum = (weight) => input.reduce((total, value, i) => total + weight(i) * value, 0);
    const ink = Math.max(sum(() => 1), layer.numbers.least_ink);
    const middle = sum(row) / ink;
    const variance = Math.max(sum((i) => row(i) ** 2) / ink - middle ** 2, layer.numbers.least_variance);
    const slope = (sum((i) => row(i) * column(i)) / ink - (middle * sum(column)) / ink) / variance;
    const at = (start, place) => (place >= 0 && place < side ? input[start + place] : 0);
    return input.map((_, i) => {
      const start = i - (i % side);
      const place = (i % side) + half * slope * (row(i) - middle);
      const left = Math.floor(place);
      return (left + 1 - place) * at(start, left) + (place - left) * at(start, left + 1);
    });
  },

  // Subtract the local mean; divide by the local standard deviation, or by its mean where that is larger.
  local_contrast(layer, input) {
    const side = layer.shape[1];
    const means = localMean(input, side, layer.weights);
    const contrast = input.map((value, i) => value - means[i]);
    const squares = localMean(contrast.map((value) => value * value), side, layer.weights);
    const deviations = squares.map((value) => Math.sqrt(Math.max(value, 1e-8)));
    const least = mean(deviations);
    return contrast.map((value, i) => value / Math.max(deviations[i], least));
  },

  scale(layer, input) {
    const pixels = input.length / layer.weights.length;
    return input.map((value, i) => {
      const channel = Math.floor(i / pixels);
      return value * layer.weights[channel] + layer.biases[channel];
    });
  },

  linear(layer, input) {
    return layer.biases.map((bias, output) => {
      let sum = 0;
      for (let i = 0, w = output * input.length; i < input.length; i++, w++) sum += layer.weights[w] * input[i];
      return sum + bias;
    });
  },

  convolution(layer, input) {
    const [channelsIn, rows, columns] = layer.shape_in;
    const [maps, rowsOut, columnsOut] = layer.shape;
    const { kernel, stride, padding, groups } = layer.numbers;
    const channels = channelsIn / groups; // of one group
    const output = new Float32Array(maps * rowsOut * columnsOut);
    for (let map = 0, at = 0; map < maps; map++) {
      const first = Math.floor(map / (maps / groups)) * channels;
      for (let y = 0; y < rowsOut; y++) {
        const top = y * stride[0] - padding[0];
        for (let x = 0; x < columnsOut; x++, at++) {
          const left = x * stride[1] - padding[1];
          const start = Math.max(0, -left);
          const end = Math.min(kernel[1], columns - left);
          let sum = 0;
          for (let channel = 0; channel < channels; channel++) {
            for (let i = Math.max(0, -top); i < kernel[0] && top + i < rows; i++) {
              const row = ((first + channel) * rows + top + i) * columns + left;
              const weight = ((map * channels + channel) * kernel[0] + i) * kernel[1];
              for (let j = start; j < end; j++) sum += layer.weights[weight + j] * input[row + j];
            }
          }
          output[at] = sum + layer.biases[map];
        }
      }
    }
    return output;
  },

  max_pool: (layer, input) => pool(layer, input, (values) => Math.max(...values)),
  average_pool: (layer, input) => pool(layer, input, mean),

  global_average(layer, input) {
    const pixels = input.length / layer.shape[0];
    return Float32Array.from({ length: layer.shape[0] }, (_, channel) =>
      mean(input.subarray(channel * pixels, (channel + 1) * pixels))
    );
  },

  pixel_unshuffle(layer, input) {
    const [channels, rows, columns] = layer.shape_in;
    const factor = layer.numbers.factor;
    const output = [];
    for (let channel = 0; channel < channels; channel++)
      for (let i = 0; i < factor; i++)
        for (let j = 0; j < factor; j++)
          for (let y = i; y < rows; y += factor)
            for (let x = j; x < columns; x += factor) output.push(input[(channel * rows + y) * columns + x]);
    return Float32Array.from(output);
  },
};

function pool(layer, input, summarize) {
  const [channels, rows, columns] = layer.shape_in;
  const [, rowsOut, columnsOut] = layer.shape;
  const { kernel, stride, padding } = layer.numbers;
  const output = new Float32Array(channels * rowsOut * columnsOut);
  for (let channel = 0, at = 0; channel < channels; channel++) {
    for (let y = 0; y < rowsOut; y++) {
      for (let x = 0; x < columnsOut; x++, at++) {
        const values = [];
        for (let i = 0; i < kernel[0]; i++) {
          const row = y * stride[0] - padding[0] + i;
          for (let j = 0; j < kernel[1]; j++) {
            const column = x * stride[1] - padding[1] + j;
            if (row >= 0 && row < rows && column >= 0 && column < columns)
              values.push(input[(channel * rows + row) * columns + column]);
          }
        }
        output[at] = summarize(values);
      }
    }
  }
  return output;
}

// Return the mean around each pixel; row i of `weights` weighs the pixels of a row or column around pixel i.
function localMean(input, side, weights) {
  const rows = new Float32Array(side * side);
  const output = new Float32Array(side * side);
  for (const [from, to, across, along] of [[input, rows, side, 1], [rows, output, 1, side]])
    for (let line = 0; line < side; line++)
      for (let at = 0; at < side; at++) {
        let sum = 0;
        for (let k = 0; k < side; k++) sum += weights[at * side + k] * from[line * across + k * along];
        to[line * across + at * along] = sum;
      }
  return output;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

// Return the output of every layer for an image: Float32Array of 784 values from 0 (paper) to 1 (ink).
function compute(model, pixels) {
  const outputs = [];
  let values = pixels;
  for (const layer of model.layers) outputs.push((values = KINDS[layer.kind](layer, values)));
  return outputs;
}

function softmax(logits, temperature) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
