// Compute the logits of images, and leave nothing but them in the page.
const bytes = decodeBytes(document.getElementById("check-images").textContent);
const logits = [];
for (let start = 0; start < bytes.length; start += SIDE * SIDE) {
  const pixels = Float32Array.from(bytes.subarray(start, start + SIDE * SIDE), (byte) => byte / 255);
  logits.push(...compute(model, pixels).at(-1));
}
const result = document.createElement("pre");
result.textContent = JSON.stringify({ logits });
document.documentElement.replaceChildren(result);
