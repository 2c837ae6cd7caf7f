// The map of the embedding: points coloured by class, with the image under the pointer or the arrow keys.
const TEN = ["#4c7fd0", "#ef8a2c", "#3fa56b", "#d9534f", "#9268c8", "#a0724e", "#d870ad", "#7c8791", "#b5a61f", "#2fadbf"];

function classColour(label, classes) {
  if (label < 0) return "#8a8f98";
  if (classes <= TEN.length) return TEN[label];
  const hue = (label * 137.508) % 360;
  return `hsl(${hue.toFixed(1)} 60% ${[46, 58, 66][label % 3]}%)`;
}

class EmbeddingMap {
  constructor(canvas, legend, maps) {
    this.canvas = canvas;
    this.legend = legend;
    this.maps = maps;
    this.hidden = new Set();
    this.emphasised = null;
    this.at = null;
    this.choose(0);
    for (const radio of document.querySelectorAll("input[name=map-run]")) radio.addEventListener("change", () => this.choose(+radio.value));
    for (const radio of document.querySelectorAll("input[name=map-kind]")) radio.addEventListener("change", () => this.project(radio.value));
    canvas.addEventListener("pointermove", (e) => this.point(e));
    canvas.addEventListener("pointerdown", (e) => this.point(e));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("blur", () => this.leave());
    canvas.addEventListener("keydown", (e) => this.key(e));
    onResize(canvas, () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  choose(index) {
    this.map = this.maps[index];
    this.hidden.clear();
    this.fillLegend();
    const kind = document.querySelector("input[name=map-kind]:checked");
    const tsne = document.querySelector("input[name=map-kind][value=tsne]");
    const pca = document.querySelector("input[name=map-kind][value=pca]");
    tsne.disabled = !this.map.tsne.length;
    if (tsne.disabled) pca.checked = true;
    this.project(tsne.disabled ? "pca" : kind.value);
  }

  project(kind) {
    this.places = kind === "tsne" ? this.map.tsne : this.map.pca;
    this.leave();
    this.draw();
  }

  fillLegend() {
    this.legend.replaceChildren();
    const { classes, labels } = this.map;
    const counts = classes.map(() => 0);
    labels.forEach((l) => { if (l >= 0) counts[l]++; });
    classes.forEach((name, label) => {
      const button = html("button", "class", this.legend);
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      html("span", "swatch", button).style.background = classColour(label, classes.length);
      html("span", "class-name", button, name);
      html("span", "class-count", button, grouped(String(counts[label])));
      button.addEventListener("click", () => {
        if (this.hidden.has(label)) this.hidden.delete(label); else this.hidden.add(label);
        button.setAttribute("aria-pressed", String(!this.hidden.has(label)));
        this.draw();
      });
      const emphasise = (v) => () => { this.emphasised = v; this.draw(); };
      button.addEventListener("pointerenter", emphasise(label));
      button.addEventListener("pointerleave", emphasise(null));
      button.addEventListener("focus", emphasise(label));
      button.addEventListener("blur", emphasise(null));
    });
  }

  // Fits all points into the canvas, the two axes at one scale.
  fit() {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < this.places.length; i += 2) {
      x0 = Math.min(x0, this.places[i]); x1 = Math.max(x1, this.places[i]);
      y0 = Math.min(y0, this.places[i + 1]); y1 = Math.max(y1, this.places[i + 1]);
    }
    const room = 14;
    const scale = Math.min((width - 2 * room) / (x1 - x0 || 1), (height - 2 * room) / (y1 - y0 || 1));
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
    this.screen = [];
    for (let i = 0; i < this.places.length; i += 2) {
      this.screen.push([width / 2 + (this.places[i] - cx) * scale, height / 2 - (this.places[i + 1] - cy) * scale]);
    }
  }

  visible(i) {
    return !this.hidden.has(this.map.labels[i]);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.fit();
    const radius = Math.max(1.8, Math.min(4, Math.sqrt((width * height) / this.screen.length) / 7));
    const order = this.screen.map((_, i) => i).filter((i) => this.visible(i));
    if (this.emphasised !== null) order.sort((a, b) => (this.map.labels[a] === this.emphasised) - (this.map.labels[b] === this.emphasised));
    for (const i of order) {
      const faint = this.emphasised !== null && this.map.labels[i] !== this.emphasised;
      context.globalAlpha = faint ? 0.12 : 0.8;
      context.fillStyle = classColour(this.map.labels[i], this.map.classes.length);
      context.beginPath();
      context.arc(this.screen[i][0], this.screen[i][1], radius, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
    if (this.at !== null) {
      context.strokeStyle = getComputedStyle(this.canvas).color;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(this.screen[this.at][0], this.screen[this.at][1], radius + 3, 0, 7);
      context.stroke();
    }
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null, least = 24 * 24;
    this.screen.forEach(([px, py], i) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least && this.visible(i)) { least = distance; best = i; }
    });
    if (best === null) this.leave(); else this.show(best, false);
  }

  key(event) {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") return this.leave();
    if (!way) return;
    event.preventDefault();
    const from = this.at === null ? [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2] : this.screen[this.at];
    let best = null, least = Infinity;
    this.screen.forEach(([x, y], i) => {
      if (i === this.at || !this.visible(i)) return;
      const [dx, dy] = [x - from[0], y - from[1]];
      const along = dx * way[0] + dy * way[1];
      const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      const cost = this.at === null ? dx * dx + dy * dy : along + 2 * aside;
      if ((this.at === null || along > Math.max(1, aside * 0.8)) && cost < least) { least = cost; best = i; }
    });
    if (best !== null) this.show(best, true);
  }

  show(i, speak) {
    this.at = i;
    this.draw();
    const { labels, classes, images, cell, columns, sprite } = this.map;
    const name = labels[i] < 0 ? "class unknown" : classes[labels[i]];
    const zoom = Math.max(1, Math.round(96 / Math.max(cell[0], cell[1])));
    const content = html("div", "tip-image");
    const picture = html("div", "thumbnail", content);
    const rows = Math.ceil(images.length / columns);
    picture.style.width = cell[0] * zoom + "px";
    picture.style.height = cell[1] * zoom + "px";
    picture.style.backgroundImage = `url(${sprite})`;
    picture.style.backgroundSize = `${columns * cell[0] * zoom}px ${rows * cell[1] * zoom}px`;
    picture.style.backgroundPosition = `-${(i % columns) * cell[0] * zoom}px -${Math.floor(i / columns) * cell[1] * zoom}px`;
    const row = html("div", "tip-row", content);
    html("span", "swatch", row).style.background = classColour(labels[i], classes.length);
    html("span", "tip-name", row, name);
    html("div", "tip-foot", content, `image ${grouped(String(images[i]))}`);
    const box = this.canvas.getBoundingClientRect();
    showTip(content, box.left + this.screen[i][0], box.top + this.screen[i][1]);
    if (speak) spoken.textContent = `${name}, image ${images[i]}`;
  }

  leave() {
    const drawn = this.at !== null;
    this.at = null;
    hideTip();
    if (drawn) this.draw();
  }
}
