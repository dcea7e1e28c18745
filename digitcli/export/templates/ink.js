// From a drawing or a picture to the image that the network sees.
// A plane is {width, height, values: Float32Array}; ink is 1 and paper is 0.

const SIDE = 28; // of the image, in pixels
const BOX = 20; // of the box in it that the digit fills
const MIN_STROKE = 2.3; // pixels of the box; thinner strokes are thickened
const FINE = 4; // strokes are thickened at this multiple of the resolution
const MIN_CHANGE = 0.2; // pixels; strokes that are thinner by less than this are left as they are
const MIN_INK = Math.fround(0.1); // share of full ink; paler pixels do not count when a digit is cropped

function plane(width, height, values = new Float32Array(width * height)) {
  return { width, height, values };
}

// Round halves to the even neighbour, as Python does.
function roundEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}

// The steps of digitcli/imaging/normalization.py: return all of the ink as one digit, 784 bytes, ink 255;
// null if there is no ink.
function normalizeDigit(ink) {
  const digit = crop(ink);
  if (!digit) return null;
  const fine = fit(widenHairlines(digit), BOX * FINE);
  const missing = MIN_STROKE - meanStrokeWidth(fine) / FINE;
  const boxed = fit(missing > MIN_CHANGE ? thicken(fine, missing) : digit, BOX);
  const bytes = boxed.values.map((value) => Math.floor(Math.min(Math.max(value * 255 + 0.5, 0), 255)));
  return placeByCentreOfMass(plane(boxed.width, boxed.height, bytes));
}

function crop(ink) {
  let [left, top, right, bottom] = [ink.width, ink.height, -1, -1];
  for (let y = 0; y < ink.height; y++)
    for (let x = 0; x < ink.width; x++)
      if (ink.values[y * ink.width + x] > MIN_INK) {
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
  return right < 0 ? null : part(ink, left, top, right - left + 1, bottom - top + 1);
}

function part(source, left, top, width, height) {
  const result = plane(width, height);
  for (let y = 0; y < height; y++) {
    const start = (top + y) * source.width + left;
    result.values.set(source.values.subarray(start, start + width), y * width);
  }
  return result;
}

// Scale ink so that its longer side has `side` pixels.
function fit(ink, side) {
  const scale = side / Math.max(ink.width, ink.height);
  const width = Math.max(1, roundEven(ink.width * scale));
  const height = Math.max(1, roundEven(ink.height * scale));
  const weights = scale < 1 ? areaWeights : linearWeights;
  const columns = weights(ink.width, width);
  const rows = weights(ink.height, height);
  const wide = plane(width, ink.height);
  for (let y = 0; y < ink.height; y++)
    for (let x = 0; x < width; x++)
      for (const [from, weight] of columns[x])
        wide.values[y * width + x] += weight * ink.values[y * ink.width + from];
  const result = plane(width, height);
  for (let y = 0; y < height; y++)
    for (const [from, weight] of rows[y])
      for (let x = 0; x < width; x++) result.values[y * width + x] += weight * wide.values[from * width + x];
  return result;
}

// For each of `count` pixels, return the pixels of a longer row that it covers, and their shares.
function areaWeights(length, count) {
  const scale = length / count;
  return Array.from({ length: count }, (_, at) => {
    const [start, end] = [at * scale, Math.min((at + 1) * scale, length)];
    const covered = [];
    for (let from = Math.floor(start); from < end && from < length; from++) {
      const share = (Math.min(from + 1, end) - Math.max(from, start)) / (end - start);
      if (share > 1e-3 / scale) covered.push([from, share]);
    }
    return covered;
  });
}

// For each of `count` pixels, return the two pixels of a shorter row between which it lies.
function linearWeights(length, count) {
  return Array.from({ length: count }, (_, at) => {
    const place = Math.min(Math.max(((at + 0.5) * length) / count - 0.5, 0), length - 1);
    const low = Math.floor(place);
    return [[low, 1 - (place - low)], [Math.min(low + 1, length - 1), place - low]];
  });
}

// Hairlines would grow pale when they are scaled down.
function widenHairlines(digit) {
  const size = Math.ceil(Math.max(digit.width, digit.height) / (BOX * FINE));
  const row = Array.from({ length: size }, (_, i) => [i - Math.floor(size / 2), 0]);
  return dilate(dilate(digit, row), row.map(([x]) => [0, x]));
}

// Replace each pixel by the largest at these distances from it.
function dilate(source, distances) {
  const { width, height, values } = source;
  const result = plane(width, height, new Float32Array(width * height).fill(-Infinity));
  for (const [dx, dy] of distances)
    for (let y = Math.max(0, -dy); y < Math.min(height, height - dy); y++)
      for (let x = Math.max(0, -dx); x < Math.min(width, width - dx); x++) {
        const value = values[(y + dy) * width + x + dx];
        if (value > result.values[y * width + x]) result.values[y * width + x] = value;
      }
  return result;
}

// Four times the mean distance of ink to its edge. Borgefors, "Distance transformations in digital images", 1986.
function meanStrokeWidth(ink) {
  const [straight, diagonal] = [0.955, 1.3693];
  const width = ink.width + 2; // with a border of paper
  const height = ink.height + 2;
  const distances = new Float64Array(width * height);
  for (let y = 0; y < ink.height; y++)
    for (let x = 0; x < ink.width; x++)
      if (ink.values[y * ink.width + x] > 0.5) distances[(y + 1) * width + x + 1] = Infinity;
  const relax = (at, direction) => {
    if (distances[at] === 0) return;
    const above = at - direction * width;
    distances[at] = Math.min(
      distances[at],
      distances[at - direction] + straight,
      distances[above] + straight,
      distances[above - 1] + diagonal,
      distances[above + 1] + diagonal
    );
  };
  for (let at = width; at < distances.length - width; at++) relax(at, 1);
  for (let at = distances.length - width - 1; at >= width; at--) relax(at, -1);
  let [sum, count] = [0, 0];
  for (const distance of distances) if (distance > 0) [sum, count] = [sum + distance, count + 1];
  return count ? (4 * sum) / count : 0;
}

// Widen strokes so that they gain `missing` pixels of the box once they are fitted into it.
function thicken(fine, missing) {
  const size = roundEven((missing * FINE * BOX) / (BOX - missing)) + 1;
  const padded = plane(fine.width + 2 * size, fine.height + 2 * size);
  for (let y = 0; y < fine.height; y++)
    padded.values.set(
      fine.values.subarray(y * fine.width, (y + 1) * fine.width),
      (y + size) * padded.width + size
    );
  const thick = dilate(padded, ellipse(size));
  return crop(thick) || thick;
}

// Return the pixels of a disc, as distances from its middle.
function ellipse(size) {
  const radius = Math.floor(size / 2);
  const distances = [];
  for (let y = -radius; y < size - radius; y++) {
    if (Math.abs(y) > radius) continue;
    const reach = radius && roundEven(Math.sqrt(radius * radius - y * y));
    for (let x = -reach; x <= Math.min(reach, size - radius - 1); x++) distances.push([x, y]);
  }
  return distances;
}

function placeByCentreOfMass(boxed) {
  let [mass, momentX, momentY] = [0, 0, 0];
  boxed.values.forEach((value, at) => {
    mass += value;
    momentX += value * (at % boxed.width);
    momentY += value * Math.floor(at / boxed.width);
  });
  mass = Math.max(mass, 1e-6);
  const place = (moment, side) =>
    Math.min(Math.max(roundEven(SIDE / 2 - moment / mass), 0), SIDE - side);
  const [left, top] = [place(momentX, boxed.width), place(momentY, boxed.height)];
  const image = new Uint8Array(SIDE * SIDE);
  for (let y = 0; y < boxed.height; y++)
    for (let x = 0; x < boxed.width; x++) image[(top + y) * SIDE + left + x] = boxed.values[y * boxed.width + x];
  return image;
}

// What follows is for pictures only. It is simpler than what digitcli predict does: one digit on even paper.

const MIN_CONTRAST = 0.1; // darkness as a share of the light; fainter marks are taken for paper
const NOISE_SIGMAS = 5; // standard deviations of the paper's noise; fainter marks are noise
const DARKEST_PAPER = 0.4; // share of white; in deeper shadow, noise would become ink
const MASK_LEVEL = 0.25; // share of full ink; paler pixels belong to no component
const PART_DISTANCE = 0.2; // share of the digit's longer side; a part of it lies no farther away
const MIN_PART_AREA = 0.03; // share of the digit's area; smaller components are specks

// Return the ink of the most central digit in a picture's grey, from 0 (black) to 1; null if there is none.
function findInk(grey) {
  const isDark = quantile(grey.values, 0.5) < 0.5; // light ink on a dark ground
  const bright = isDark ? plane(grey.width, grey.height, grey.values.map((value) => 1 - value)) : grey;
  const reach = Math.max(2, Math.round(Math.max(grey.width, grey.height) / 8));
  const light = blur(widest(bright, reach), reach);
  const darkness = bright.values.map((value, at) => {
    const paper = Math.max(light.values[at], DARKEST_PAPER);
    return Math.max(0, paper - value) / paper;
  });
  const edge = otsu(darkness);
  const marks = darkness.filter((value) => value > edge);
  const rest = darkness.filter((value) => value <= edge);
  if (!marks.length || !rest.length) return null;
  const level = mean(rest);
  const noise = Math.sqrt(mean(rest.map((value) => (value - level) ** 2)));
  if (mean(marks) - level < Math.max(MIN_CONTRAST, NOISE_SIGMAS * noise)) return null;
  const full = quantile(marks, 0.75);
  const low = (level + edge) / 2;
  const ink = darkness.map((value) => Math.min(Math.max((value - low) / (full - low), 0), 1));
  return keepCentralDigit(plane(grey.width, grey.height, ink));
}

function widest(source, reach) {
  const line = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
  return dilate(dilate(source, line.map((x) => [x, 0])), line.map((y) => [0, y]));
}

function blur(source, reach) {
  const { width, height } = source;
  const result = plane(width, height);
  const sums = new Float64Array((width + 1) * (height + 1));
  for (let y = 0; y < height; y++)
    for (let x = 0, row = 0; x < width; x++) {
      row += source.values[y * width + x];
      sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
    }
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [left, right] = [Math.max(0, x - reach), Math.min(width, x + reach + 1)];
      const [top, bottom] = [Math.max(0, y - reach) * (width + 1), Math.min(height, y + reach + 1) * (width + 1)];
      const sum = sums[bottom + right] - sums[bottom + left] - sums[top + right] + sums[top + left];
      result.values[y * width + x] = (sum * (width + 1)) / ((right - left) * (bottom - top));
    }
  return result;
}

function quantile(values, share) {
  return Float32Array.from(values).sort()[Math.floor(share * (values.length - 1))];
}

// Otsu, "A threshold selection method from gray-level histograms", 1979.
function otsu(values) {
  const counts = new Array(256).fill(0);
  for (const value of values) counts[Math.floor(Math.min(value, 1) * 255)]++;
  const total = counts.reduce((sum, count, level) => sum + count * level, 0);
  let [best, bestLevel, below, sumBelow] = [-1, 0, 0, 0];
  counts.forEach((count, level) => {
    below += count;
    sumBelow += count * level;
    const above = values.length - below;
    if (!below || !above) return;
    const between = below * above * (sumBelow / below - (total - sumBelow) / above) ** 2;
    if (between > best) [best, bestLevel] = [between, level];
  });
  return (bestLevel + 1) / 255;
}

// Keep the connected component with most ink in the middle, and the parts near it.
function keepCentralDigit(ink) {
  const { labels, components } = findComponents(ink);
  const inside = components.filter((each) => !each.touchesEdge);
  const usable = inside.length ? inside : components;
  if (!usable.length) return null;
  const central = usable.reduce((best, each) => (each.centralMass > best.centralMass ? each : best));
  const reach = PART_DISTANCE * Math.max(central.right - central.left, central.bottom - central.top);
  const kept = new Set();
  for (const each of usable) {
    const gapX = Math.max(each.left - central.right, central.left - each.right, 0);
    const gapY = Math.max(each.top - central.bottom, central.top - each.bottom, 0);
    if (Math.hypot(gapX, gapY) < reach && each.area > MIN_PART_AREA * central.area) kept.add(each.label);
  }
  kept.add(central.label);
  const near = dilate(
    plane(ink.width, ink.height, Float32Array.from(labels, (label) => (kept.has(label) ? 1 : 0))),
    [-1, 0, 1].flatMap((x) => [-1, 0, 1].map((y) => [x, y]))
  );
  return plane(ink.width, ink.height, ink.values.map((value, at) => value * near.values[at]));
}

function findComponents(ink) {
  const { width, height, values } = ink;
  const labels = new Int32Array(width * height);
  const components = [];
  const weigh = (place, side) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (place + 1)) / (side + 1));
  for (let start = 0; start < labels.length; start++) {
    if (labels[start] || values[start] <= MASK_LEVEL) continue;
    const label = components.length + 1;
    const found = { label, left: width, right: 0, top: height, bottom: 0, area: 0, centralMass: 0 };
    const waiting = [start];
    labels[start] = label;
    while (waiting.length) {
      const at = waiting.pop();
      const [x, y] = [at % width, Math.floor(at / width)];
      [found.left, found.right] = [Math.min(found.left, x), Math.max(found.right, x + 1)];
      [found.top, found.bottom] = [Math.min(found.top, y), Math.max(found.bottom, y + 1)];
      found.area++;
      found.centralMass += values[at] * weigh(x, width) * weigh(y, height);
      for (let dy = -1; dy <= 1; dy++)
        for (let dx = -1; dx <= 1; dx++) {
          const next = at + dy * width + dx;
          const isOnPage = x + dx >= 0 && x + dx < width && y + dy >= 0 && y + dy < height;
          if (isOnPage && !labels[next] && values[next] > MASK_LEVEL) {
            labels[next] = label;
            waiting.push(next);
          }
        }
    }
    found.touchesEdge = !found.left || !found.top || found.right === width || found.bottom === height;
    components.push(found);
  }
  return { labels, components };
}
