// A figure by ECharts in the colours of the page's theme.
//
// Options come as plain data. A colour may be a name such as "@best", which stands for the custom property --best;
// a function is a name of FUNCTIONS. Nothing in the options is ever run or read as HTML.
import { echarts } from "nicegui-echart";

const COLOUR_KEY = /color$/i;
const FUNCTION_KEYS = new Set(["formatter", "renderItem"]);

function escaped(text) {
  return String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function tipped(title, lines) {
  const rows = lines.map((line) => `<div>${line}</div>`).join("");
  return `<strong>${title}</strong>${rows}`;
}

function plain(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(5))) : escaped(value);
}

// Functions get the chart's `meta`, so that texts need not be repeated for every dot.
const FUNCTIONS = {
  // an item that carries its own lines
  lines: () => (item) => {
    const lines = item.data?.tip ?? [];
    return lines.length ? tipped(escaped(lines[0]), lines.slice(1).map(escaped)) : "";
  },
  // a dot [x, y, individual, generation, fitness]
  individual: (meta) => (item) => {
    const [, , number, generation, fitness] = item.value;
    const verdict = meta.failures?.[number] ?? `${meta.metric} ${Number(fitness).toFixed(4)}`;
    return tipped(`individual ${plain(number)}`, [`generation ${plain(generation)}`, escaped(verdict)]);
  },
  // all series at one place of the horizontal axis
  shared: (meta) => (items) => {
    const shown = items.filter((item) => item.seriesName && !item.seriesName.startsWith("_") && item.value?.[1] != null);
    if (!shown.length) return "";
    const digits = meta.digits ?? 4;
    const lines = shown.map((item) => `${item.marker}${escaped(item.seriesName)} <b>${Number(item.value[1]).toFixed(digits)}</b>`);
    return tipped(`${escaped(meta.x ?? "")} ${plain(shown[0].value[0])}`, lines);
  },
  percent: () => (value) => `${Math.round(value * 100)} %`,
  short: () => (value) => String(Number(Number(value).toPrecision(3))),
  power: () => (value) => {
    const number = Number((10 ** value).toPrecision(2));
    return number < 0.001 || number >= 1e5 ? number.toExponential().replace("+", "") : String(number);
  },
  clock: () => (value) => {
    const minutes = Math.round(value / 60);
    return value < 90 ? `${Math.round(value)} s` : minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 6) / 10} h`;
  },
  // a bar from value[1] to value[2] in the row value[0]
  span: () => (params, api) => {
    const row = api.value(0);
    const start = api.coord([api.value(1), row]);
    const end = api.coord([api.value(2), row]);
    const height = Math.min(api.size([0, 1])[1] * 0.62, 18);
    const area = params.coordSys;
    const shape = echarts.graphic.clipRectByRect(
      { x: start[0], y: start[1] - height / 2, width: Math.max(end[0] - start[0] - 1, 1.5), height },
      { x: area.x, y: area.y, width: area.width, height: area.height },
    );
    return shape && { type: "rect", shape: { ...shape, r: 2 }, style: api.style() };
  },
};

function resolved(value, style, meta, key = "") {
  if (typeof value === "string") {
    if (value.startsWith("@") && COLOUR_KEY.test(key)) return style.getPropertyValue(`--${value.slice(1)}`).trim();
    if (FUNCTION_KEYS.has(key) && Object.hasOwn(FUNCTIONS, value)) return FUNCTIONS[value](meta);
    return value;
  }
  if (Array.isArray(value)) {
    // the data themselves are long and hold neither colours nor functions, unless they are objects
    if (key === "data" && typeof value[0] !== "object") return value;
    return value.map((item) => (Array.isArray(item) && key === "data" ? item : resolved(item, style, meta, key)));
  }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolved(item, style, meta, name)]));
  }
  return value;
}

export default {
  template: '<div class="ev-chart" role="img" :aria-label="label"></div>',
  props: { options: Object, label: String, href: String, meta: Object, shape: String },
  mounted() {
    // Nothing is drawn before it is in sight: a page may hold dozens of figures.
    this.sight = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.begin();
    }, { rootMargin: "200px" });
    this.sight.observe(this.$el);
    this.$watch(() => [this.options, this.meta], () => this.draw());
  },
  beforeUnmount() {
    this.sight?.disconnect();
    this.size?.disconnect();
    this.theme?.disconnect();
    this.chart?.dispose();
  },
  methods: {
    begin() {
      if (this.chart) return;
      this.sight.disconnect();
      this.chart = echarts.init(this.$el);
      this.$el.chart = this.chart; // for whoever looks into it from outside
      this.chart.on("click", (item) => this.follow(item));
      this.size = new ResizeObserver(() => this.chart.resize());
      this.size.observe(this.$el);
      this.theme = new MutationObserver(() => {
        const dark = document.body.classList.contains("body--dark");
        if (dark !== this.dark) this.draw();
      });
      this.theme.observe(document.body, { attributeFilter: ["class"] });
      this.draw();
    },
    draw() {
      if (!this.chart) return;
      this.dark = document.body.classList.contains("body--dark");
      const style = getComputedStyle(document.body);
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const options = resolved(Vue.toRaw(this.options), style, Vue.toRaw(this.meta) ?? {});
      const common = {
        animation: !still,
        animationDuration: 0,
        animationDurationUpdate: 250,
        textStyle: { fontFamily: style.fontFamily, color: style.getPropertyValue("--ink").trim() },
      };
      // what the reader has hidden in the legend stays hidden while the shape is the same
      const same = this.drawn === this.shape;
      this.chart.setOption({ ...common, ...options }, same ? { replaceMerge: ["series"] } : { notMerge: true });
      this.drawn = this.shape;
    },
    follow(item) {
      let target = item.data?.href;
      if (!target && this.href && Array.isArray(item.value) && item.value.length > 2) {
        target = this.href + item.value[2];
      }
      if (typeof target !== "string" || !/^\/[^/\\]/.test(target)) return;
      target = window.path_prefix + target;
      const event = item.event?.event;
      if (event?.ctrlKey || event?.metaKey) window.open(target, "_blank", "noopener");
      else window.location.assign(target);
    },
  },
};
