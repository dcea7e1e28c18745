// The page: draw or choose a picture, and see what the network computes.

const LONGEST_SIDE = 480; // pixels; larger pictures are shrunk
const PEN = 22; // pixels of the drawing area
const MAP_SCALES = [[28, 2], [14, 3], [7, 5], [0, 8]]; // from this height on, each value is so many pixels wide
const FRAME = "#808080"; // of each map; it is visible on light and on dark ground
const ROW_OF_VALUES = 128; // values of a layer without maps that stand in one row

const model = readModel();
const paper = document.getElementById("paper");
const pen = paper.getContext("2d", { willReadFrequently: true });
const answer = document.getElementById("answer");
let isScheduled = false;

function show(image) {
  const pixels = Float32Array.from(image, (byte) => byte / 255);
  const outputs = compute(model, pixels);
  const probabilities = softmax(outputs[outputs.length - 1], model.facts.temperature);
  const best = probabilities.indexOf(Math.max(...probabilities));
  answer.textContent = `It reads ${best}, with a probability of ${percent(probabilities[best])}.`;
  probabilities.forEach((probability, digit) => {
    document.getElementById(`bar-${digit}`).style.width = `${100 * probability}%`;
    document.getElementById(`probability-${digit}`).textContent = percent(probability);
    document.getElementById(`row-${digit}`).className = digit === best ? "best" : "";
  });
  drawMaps(document.getElementById("seen"), pixels, [1, SIDE, SIDE], [0, 1]);
  outputs.forEach((values, number) => {
    drawMaps(document.getElementById(`maps-${number}`), values, model.layers[number].shape, null);
  });
}

function showNothing(reason) {
  answer.textContent = reason;
  for (let digit = 0; digit < 10; digit++) {
    document.getElementById(`bar-${digit}`).style.width = "0";
    document.getElementById(`probability-${digit}`).textContent = "";
    document.getElementById(`row-${digit}`).className = "";
  }
  for (const canvas of document.querySelectorAll(".maps"))
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

// Draw maps side by side, each from its least value (black) to its largest (white), or in a given range.
function drawMaps(canvas, values, shape, range) {
  const [maps, rows, columns] =
    shape.length === 3 && shape[1] * shape[2] > 1
      ? shape
      : [Math.ceil(values.length / ROW_OF_VALUES), 1, Math.min(values.length, ROW_OF_VALUES)];
  const isRow = rows === 1;
  const scale = isRow ? 4 : MAP_SCALES.find(([height]) => rows >= height)[1];
  const across = isRow ? 1 : Math.max(1, Math.min(maps, Math.floor(560 / (columns * scale + 2))));
  const [cellWidth, cellHeight] = [columns * scale + 2, rows * scale * (isRow ? 3 : 1) + 2];
  canvas.width = across * cellWidth;
  canvas.height = Math.ceil(maps / across) * cellHeight;
  const brush = canvas.getContext("2d");
  const all = isRow ? limits(values) : null;
  for (let map = 0; map < maps; map++) {
    const own = values.subarray(map * rows * columns, (map + 1) * rows * columns);
    const [low, high] = range || all || limits(own);
    const [left, top] = [(map % across) * cellWidth + 1, Math.floor(map / across) * cellHeight + 1];
    brush.fillStyle = FRAME;
    brush.fillRect(left - 1, top - 1, cellWidth, cellHeight);
    own.forEach((value, at) => {
      const level = Math.round((255 * (value - low)) / (high - low || 1));
      brush.fillStyle = `rgb(${level}, ${level}, ${level})`;
      brush.fillRect(
        left + (at % columns) * scale,
        top + Math.floor(at / columns) * scale,
        scale,
        scale * (isRow ? 3 : 1)
      );
    });
  }
}

function limits(values) {
  return [Math.min(...values), Math.max(...values)];
}

function drawnInk() {
  const { data } = pen.getImageData(0, 0, paper.width, paper.height);
  return plane(paper.width, paper.height, Float32Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 3] / 255));
}

function read() {
  isScheduled = false;
  const image = normalizeDigit(drawnInk());
  if (image) show(image);
  else showNothing("Draw a digit, or choose a picture.");
}

function schedule() {
  if (!isScheduled) requestAnimationFrame(read);
  isScheduled = true;
}

function clear() {
  pen.clearRect(0, 0, paper.width, paper.height);
  schedule();
}

function place(event) {
  const box = paper.getBoundingClientRect();
  const scale = paper.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function draw(event) {
  for (const each of event.getCoalescedEvents ? [...event.getCoalescedEvents(), event] : [event]) {
    pen.lineTo(...place(each));
    pen.stroke();
    pen.beginPath();
    pen.moveTo(...place(each));
  }
  schedule();
}

paper.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  paper.setPointerCapture(event.pointerId);
  [pen.lineWidth, pen.lineCap, pen.lineJoin, pen.strokeStyle] = [PEN, "round", "round", "black"];
  pen.beginPath();
  pen.moveTo(...place(event));
  draw(event);
});
paper.addEventListener("pointermove", (event) => {
  if (paper.hasPointerCapture(event.pointerId)) draw(event);
});

// Show a picture on the paper, and read the most central digit in it.
async function readPicture(file) {
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    showOnPaper(null);
    showNothing(`${file.name} is not a picture that this browser can open.`);
    return;
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  const copy = document.createElement("canvas");
  copy.width = Math.max(1, Math.round(picture.width * scale));
  copy.height = Math.max(1, Math.round(picture.height * scale));
  const brush = copy.getContext("2d", { willReadFrequently: true });
  brush.fillStyle = "white";
  brush.fillRect(0, 0, copy.width, copy.height);
  brush.drawImage(picture, 0, 0, copy.width, copy.height);
  const { data } = brush.getImageData(0, 0, copy.width, copy.height);
  const grey = Float32Array.from(
    { length: data.length / 4 },
    (_, i) => (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255
  );
  const ink = findInk(plane(copy.width, copy.height, grey));
  showOnPaper(ink);
  const image = ink && normalizeDigit(ink);
  if (image) show(image);
  else showNothing(`There is no digit in ${file.name}.`);
}

// Draw the ink that was found on the paper, as large as it fits.
function showOnPaper(ink) {
  pen.clearRect(0, 0, paper.width, paper.height);
  if (!ink) return;
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [ink.width, ink.height];
  const pixels = new ImageData(ink.width, ink.height);
  ink.values.forEach((value, at) => (pixels.data[4 * at + 3] = Math.round(255 * value)));
  copy.getContext("2d").putImageData(pixels, 0, 0);
  const scale = paper.width / Math.max(ink.width, ink.height);
  const [width, height] = [ink.width * scale, ink.height * scale];
  pen.drawImage(copy, (paper.width - width) / 2, (paper.height - height) / 2, width, height);
}

for (const input of document.querySelectorAll("input[type=file]"))
  input.addEventListener("change", () => {
    if (input.files.length) readPicture(input.files[0]);
    input.value = "";
  });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) readPicture(event.dataTransfer.files[0]);
});
document.getElementById("clear").addEventListener("click", clear);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" || event.key === "Delete") clear();
});
read();
