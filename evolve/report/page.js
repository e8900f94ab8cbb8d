"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 600px)");

  // "@best" stands for the theme's colour --best, "@scale" for its colour scale.
  function coloured(value, style) {
    if (value === "@scale") {
      return [[0, style.getPropertyValue("--scale-low").trim()], [1, style.getPropertyValue("--scale-high").trim()]];
    }
    if (typeof value === "string" && /^@[a-z]+$/.test(value)) return style.getPropertyValue("--" + value.slice(1)).trim();
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    }
    return value;
  }

  function layoutFor(figure, element, style) {
    const gene = element.classList.contains("gene");
    const axis = {
      gridcolor: style.getPropertyValue("--rule").trim(), zeroline: false, automargin: true,
      linecolor: style.getPropertyValue("--faint").trim(), nticks: gene ? 4 : undefined,
    };
    const given = coloured(figure.layout, style);
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
      font: { family: getComputedStyle(document.body).fontFamily, size: gene || narrow.matches ? 10 : 12, color: style.getPropertyValue("--ink").trim() },
      margin: gene ? { l: 34, r: 6, t: 6, b: 26 } : { l: 48, r: 12, t: 8, b: 40 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      ...given,
      xaxis: { ...axis, ...given.xaxis },
      yaxis: { ...axis, ...given.yaxis },
    };
  }

  function draw(element) {
    const figure = figures[element.dataset.figure];
    if (!figure) return;
    const style = getComputedStyle(document.documentElement);
    const data = coloured(figure.data, style);
    for (const trace of data) if (trace.marker?.colorbar && narrow.matches) trace.marker.showscale = false;
    Plotly.react(element, data, layoutFor(figure, element, style), {
      responsive: true, displayModeBar: false, showTips: false,
    });
  }

  // One figure after another, so that the page can be read while they appear.
  function drawAll() {
    const waiting = [...document.querySelectorAll("[data-figure]")];
    const next = () => {
      const element = waiting.shift();
      if (element) {
        draw(element);
        setTimeout(next, 0);
      } else {
        document.documentElement.dataset.drawn = "yes";
      }
    };
    next();
  }

  drawAll();
  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
})();
