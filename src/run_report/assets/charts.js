// Curves over steps: axes, smoothing, a logarithmic scale, and values under the pointer or the arrow keys.
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const spoken = document.getElementById("spoken");
const SVG = "http://www.w3.org/2000/svg";
let smoothing = 0.5;

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

function html(name, className, parent, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

// Four significant digits, or as many decimals as a step of an axis has.
function number(v, decimals) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (decimals === undefined && (size < 1e-3 || size >= 1e7)) return v.toExponential(2).replace("e+", "e");
  const places = decimals === undefined ? Math.max(0, 3 - Math.floor(Math.log10(size))) : decimals;
  const [whole, part] = v.toFixed(Math.min(places, 12)).split(".");
  const sign = whole.startsWith("-") ? "−" : "";
  return sign + grouped(whole.replace("-", "")) + (part ? "." + part : "");
}

function bytes(v) {
  const units = [["GiB", 1024 ** 3], ["MiB", 1024 ** 2], ["KiB", 1024]];
  const [unit, size] = units.find(([, s]) => v >= s) || units[2];
  const n = v / size;
  return n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0).replace(/\.0+$/, "") + " " + unit;
}

function written(v, format) {
  if (format === "percent") return (100 * v).toFixed(2) + " %";
  if (format === "bytes") return bytes(v);
  return number(v);
}

// Round values of a scale from low to high, about as many as asked for.
function ticks(low, high, about, base) {
  const span = high - low || 1;
  const power = base ? base ** Math.floor(Math.log(span / about) / Math.log(base)) : 10 ** Math.floor(Math.log10(span / about));
  const steps = base ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 5, 10];
  const step = power * (steps.find((s) => span / (power * s) <= about) || steps[steps.length - 1]);
  const list = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) list.push(i * step);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return { list, step, decimals };
}

function logTicks(low, high) {
  const list = [];
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  const factors = to - from <= 1 ? [1, 2, 3, 5] : to - from <= 3 ? [1, 3] : [1];
  const every = Math.ceil((to - from) / 6);
  for (let e = from; e <= to; e++) {
    if ((e - from) % every && factors.length === 1) continue;
    for (const f of factors) {
      const v = f * 10 ** e;
      if (v >= low * 0.999 && v <= high * 1.001) list.push(v);
    }
  }
  return list;
}

function axisNumber(v, scale, format) {
  if (format === "percent") return number(100 * v, Math.max(0, scale.decimals - 2)) + " %";
  if (format === "bytes") return v === 0 ? "0" : bytes(v);
  if (v !== 0 && (scale.step < 1e-4 || scale.step >= 1e6)) return v.toExponential(1).replace("e+", "e").replace(".0e", "e");
  return number(v, scale.decimals);
}

function logNumber(v) {
  return v >= 1e-3 && v < 1e6 ? number(v, Math.max(0, -Math.floor(Math.log10(v) + 1e-9))) : v.toExponential(0).replace("e+", "e");
}

function stepNumber(v) {
  if (v >= 1e6) return +(v / 1e6).toFixed(2) + "M";
  if (v >= 1e4) return +(v / 1e3).toFixed(1) + "k";
  return grouped(String(Math.round(v)));
}

// A moving average whose beginning is not drawn towards zero; its reach grows with the number of points.
function smoothed(values, amount) {
  if (amount <= 0 || values.length < 3) return values;
  const reach = 1 + amount * amount * values.length / 6;
  const keep = Math.exp(-1 / reach);
  let sum = 0, weight = 0;
  return values.map((v) => {
    sum = sum * keep + v * (1 - keep);
    weight = weight * keep + (1 - keep);
    return sum / weight;
  });
}

function nearest(steps, step) {
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1; else high = middle;
  }
  return low > 0 && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
}

// Calls after the element's width has changed, outside of the layout that noticed it.
function onResize(target, call) {
  let width = target.clientWidth;
  new ResizeObserver(() => {
    if (target.clientWidth === width) return;
    width = target.clientWidth;
    requestAnimationFrame(call);
  }).observe(target);
}

function showTip(content, x, y) {
  tip.replaceChildren(content);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const right = document.documentElement.clientWidth;
  const left = x + 16 + box.width > right ? x - 16 - box.width : x + 16;
  tip.style.left = Math.max(4, Math.min(left, right - box.width - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(y - box.height / 2, innerHeight - box.height - 4)) + "px";
}

function hideTip() {
  tip.hidden = true;
}

class Chart {
  constructor(figure, chart) {
    this.figure = figure;
    this.chart = chart;
    this.log = false;
    this.at = null;
    this.curves = chart.lines.filter((l) => l.level === null);
    this.levels = chart.lines.filter((l) => l.level !== null);
    const positive = this.curves.some((l) => l.values.some((v) => v > 0)) && !this.curves.some((l) => l.values.some((v) => v < 0));
    if (chart.log && positive) this.addToggle();
    this.svg = element("svg", { tabindex: 0, role: "group", "aria-roledescription": "chart", "aria-label": this.described() }, figure);
    this.svg.addEventListener("pointermove", (e) => this.point(e));
    this.svg.addEventListener("pointerdown", (e) => this.point(e));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("keydown", (e) => this.key(e));
    onResize(figure, () => this.draw());
    this.draw();
  }

  described() {
    const parts = this.curves.filter((l) => l.values.length).map((l) => {
      const first = written(l.values[0], this.chart.format);
      const last = written(l.values[l.values.length - 1], this.chart.format);
      return `${l.name}: from ${first} to ${last}`;
    });
    parts.push(...this.levels.map((l) => `${l.name}: ${written(l.level, this.chart.format)}`));
    return `${this.chart.title}. ${parts.join("; ")}. Arrow keys read values.`;
  }

  addToggle() {
    const button = html("button", "toggle", this.figure.querySelector("figcaption"), "log");
    button.type = "button";
    button.title = "Logarithmic scale";
    button.setAttribute("aria-label", `Logarithmic scale for ${this.chart.title}`);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      this.log = !this.log;
      button.setAttribute("aria-pressed", String(this.log));
      this.draw();
    });
  }

  // The least and the largest value to show, with some room.
  range() {
    const usable = (v) => v !== null && Number.isFinite(v) && (!this.log || v > 0);
    let low = Infinity, high = -Infinity;
    const see = (v) => {
      if (usable(v)) { low = Math.min(low, v); high = Math.max(high, v); }
    };
    for (const line of this.curves) {
      line.values.forEach(see);
      if (line.low) { line.low.forEach(see); line.high.forEach(see); }
    }
    this.levels.forEach((l) => see(l.level));
    this.chart.include.forEach(see);
    if (low > high) return [0, 1];
    if (low === high) {
      const room = Math.abs(low) * 0.1 || 1;
      return this.log ? [low / 1.5, high * 1.5] : [low - room, high + room];
    }
    if (this.log) {
      const room = (high / low) ** 0.05;
      return [low / room, high * room];
    }
    const room = (high - low) * 0.06;
    const floor = this.chart.include.includes(0) && low >= 0;
    return [floor ? 0 : low - room, high + room];
  }

  draw() {
    const width = Math.max(200, Math.floor(this.figure.clientWidth));
    const height = Math.round(Math.min(260, Math.max(190, width * 0.5)));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren();
    const [low, high] = this.range();
    const scale = this.log ? { list: logTicks(low, high) } : ticks(low, high, 5, this.chart.format === "bytes" ? 1024 : 0);
    const labels = scale.list.map((v) => (this.log ? logNumber(v) : axisNumber(v, scale, this.chart.format)));
    const left = 12 + 6.6 * Math.max(2, ...labels.map((l) => l.length));
    const box = { left, right: width - 14, top: 10, bottom: height - 26 };
    const last = Math.max(1, ...this.curves.map((l) => (l.steps.length ? l.steps[l.steps.length - 1] : 0)));
    const first = Math.min(last - 1, ...this.curves.map((l) => (l.steps.length ? l.steps[0] : 0)));
    this.x = (step) => box.left + ((step - first) / (last - first)) * (box.right - box.left);
    this.step = (x) => first + ((x - box.left) / (box.right - box.left)) * (last - first);
    const share = this.log
      ? (v) => (Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low))
      : (v) => (v - low) / (high - low);
    this.y = (v) => box.bottom - share(v) * (box.bottom - box.top);
    this.box = box;
    scale.list.forEach((v, i) => {
      const y = Math.round(this.y(v)) + 0.5;
      element("line", { x1: box.left, x2: box.right, y1: y, y2: y, class: v === 0 ? "axis" : "rule" }, this.svg);
      element("text", { x: box.left - 8, y: y + 4, class: "tick end" }, this.svg, labels[i]);
    });
    const across = ticks(first, last, Math.max(2, Math.floor((box.right - box.left) / 64)));
    for (const step of across.list) {
      if (!Number.isInteger(step)) continue;
      const text = (step === across.list[0] ? "step " : "") + stepNumber(step);
      const x = this.x(step);
      element("line", { x1: x, x2: x, y1: box.bottom, y2: box.bottom + 4, class: "axis" }, this.svg);
      const anchor = x > width - 24 ? "tick end" : "tick middle";
      element("text", { x: anchor === "tick end" ? width - 2 : x, y: height - 8, class: anchor }, this.svg, text);
    }
    this.levels.forEach((l) => this.drawLevel(l));
    this.curves.forEach((l) => this.drawCurve(l));
    this.mark = element("g", { class: "mark" }, this.svg);
    if (this.at !== null) this.read(this.at, false);
  }

  path(steps, values) {
    let path = "", pen = false;
    for (let i = 0; i < steps.length; i++) {
      const ok = values[i] !== null && Number.isFinite(values[i]) && (!this.log || values[i] > 0);
      if (ok) path += `${pen ? "L" : "M"}${this.x(steps[i]).toFixed(1)} ${this.y(values[i]).toFixed(1)}`;
      pen = ok;
    }
    return path;
  }

  drawLevel(line) {
    const y = this.y(line.level);
    element("line", { x1: this.box.left, x2: this.box.right, y1: y, y2: y, class: "level" }, this.svg);
    const above = y - 6 > this.box.top + 8 ? y - 6 : y + 14;
    element("text", { x: this.box.left + 6, y: above, class: "tick" }, this.svg, `${line.name} ${written(line.level, this.chart.format)}`);
  }

  drawCurve(line) {
    const colour = `r${line.colour}`;
    const smooth = this.chart.noisy ? smoothed(line.values, smoothing) : line.values;
    if (smooth !== line.values) {
      if (line.low) {
        const up = this.path(line.steps, line.high);
        const clipped = line.low.map((v, i) => (this.log && v <= 0 ? line.values[i] : v));
        const down = this.path([...line.steps].reverse(), [...clipped].reverse()).replace(/^M/, "L");
        element("path", { d: up + down + "Z", class: `band ${colour}` }, this.svg);
      }
      element("path", { d: this.path(line.steps, line.values), class: `raw ${colour}` }, this.svg);
    }
    element("path", { d: this.path(line.steps, smooth), class: `curve ${colour}` }, this.svg);
    if (line.marks || line.steps.length === 1) {
      line.steps.forEach((s, i) => {
        if (!this.log || line.values[i] > 0) element("circle", { cx: this.x(s), cy: this.y(line.values[i]), r: 3.5, class: `dot ${colour}` }, this.svg);
      });
    }
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    this.read(this.step(event.clientX - box.left), false, event);
  }

  key(event) {
    const longest = this.curves.reduce((a, b) => (b.steps.length > a.steps.length ? b : a), this.curves[0]);
    if (!longest || !longest.steps.length) return;
    const n = longest.steps.length;
    const here = this.at === null ? -1 : nearest(longest.steps, this.at);
    const stride = event.shiftKey ? Math.max(1, Math.round(n / 20)) : 1;
    const there = { ArrowRight: here + stride, ArrowLeft: (here < 0 ? n : here) - stride, Home: 0, End: n - 1 }[event.key];
    if (event.key === "Escape") return this.leave();
    if (there === undefined) return;
    event.preventDefault();
    this.read(longest.steps[Math.max(0, Math.min(n - 1, there))], true);
  }

  // Shows the values at a step, in a box and to who listens.
  read(step, speak, event) {
    const found = this.curves.filter((l) => l.steps.length).map((line) => {
      const i = nearest(line.steps, step);
      return { line, step: line.steps[i], value: line.values[i] };
    });
    if (!found.length) return;
    const at = found.reduce((a, b) => (Math.abs(b.step - step) < Math.abs(a.step - step) ? b : a)).step;
    this.at = at;
    this.mark.replaceChildren();
    const x = this.x(at);
    element("line", { x1: x, x2: x, y1: this.box.top, y2: this.box.bottom, class: "cross" }, this.mark);
    const content = html("div");
    html("div", "tip-head", content, `step ${grouped(String(Math.round(at)))}`);
    const shown = found.filter((f) => !this.chart.lines[0].marks || f.step === at || found.length === 1);
    for (const { line, step: own, value } of shown) {
      if (value > 0 || !this.log) element("circle", { cx: this.x(own), cy: this.y(value), r: 4, class: `dot ${`r${line.colour}`}` }, this.mark);
      const row = html("div", "tip-row", content);
      if (this.curves.length > 1 || line.marks) {
        html("span", `swatch r${line.colour}`, row);
        html("span", "tip-name", row, line.name);
      }
      html("span", "tip-value", row, written(value, this.chart.format));
    }
    const box = this.svg.getBoundingClientRect();
    showTip(content, box.left + x, event ? event.clientY : box.top + box.height / 2);
    if (speak) spoken.textContent = `step ${Math.round(at)}: ` + shown.map((f) => `${f.line.name} ${written(f.value, this.chart.format)}`).join(", ");
  }

  leave() {
    this.at = null;
    if (this.mark) this.mark.replaceChildren();
    hideTip();
  }
}
