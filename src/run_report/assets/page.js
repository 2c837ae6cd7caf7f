// Starts the drawings; `data-drawn` on the root element says that all are there.
const charts = [...document.querySelectorAll("[data-chart]")].map((figure) => new Chart(figure, data.charts[+figure.dataset.chart]));
const slider = document.getElementById("smoothing");
if (slider) {
  smoothing = slider.value / 100;
  slider.addEventListener("input", () => {
    smoothing = slider.value / 100;
    charts.forEach((c) => c.draw());
  });
}
const canvas = document.getElementById("map");
if (canvas) new EmbeddingMap(canvas, document.getElementById("classes"), data.maps);
addEventListener("scroll", hideTip, { passive: true });
document.documentElement.dataset.drawn = String(charts.length);
