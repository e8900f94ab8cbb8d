// A table of texts, links, bars and curves. Every text is shown as text.
//
// columns: {label, sort?, end?: bool, note?}
// rows: {key, tone?, cells: [text | {text, href?, tone?, mark?, bar?, spark?, note?, mono?}], chosen?: bool}

function curve(points, width, height, bounds) {
  const [low, high] = bounds;
  const last = Math.max(1, points.span ?? points.values.length - 1);
  return points.values
    .map((value, index) => {
      const x = 1 + (index / last) * (width - 2);
      const y = height - 1 - ((value - low) / (high - low || 1)) * (height - 2);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

export default {
  template: `
    <div class="ev-scroll" role="region" tabindex="0" :aria-label="caption">
      <table class="ev-table" :class="{ 'ev-stacked': stacked }">
        <caption class="ev-hidden">{{ caption }}</caption>
        <thead>
          <tr>
            <th v-if="choosable" scope="col"><span class="ev-hidden">Choose</span></th>
            <th v-for="column in columns" scope="col" :class="{ end: column.end }" :aria-sort="order(column)" :title="column.note">
              <button v-if="column.sort" type="button" class="ev-sort" @click="$emit('sort', column.sort)">
                {{ column.label }}<span aria-hidden="true" class="ev-arrow">{{ arrow(column) }}</span>
              </button>
              <template v-else>{{ column.label }}</template>
            </th>
          </tr>
        </thead>
        <tbody>
          <tr v-for="row in rows" :key="row.key" :class="row.tone ? 'tone-' + row.tone : null">
            <td v-if="choosable" class="ev-choice">
              <input type="checkbox" :checked="row.chosen" :aria-label="'Choose ' + row.key"
                @change="$emit('choose', row.key, $event.target.checked)">
            </td>
            <td v-for="(cell, index) in row.cells" :data-label="columns[index]?.label" :class="classes(cell, columns[index])" :title="cell?.note">
              <span v-if="cell?.swatch" class="ev-key" aria-hidden="true" :style="{ background: 'var(--series' + Number(cell.swatch) + ')' }"></span>
              <a v-if="cell?.href" :href="link(cell.href)">{{ cell.text }}</a>
              <template v-else-if="cell?.bar !== undefined">
                <span class="ev-bar" aria-hidden="true"><span :style="{ width: width(cell.bar) }" :class="cell.tone ? 'fill-' + cell.tone : null"></span></span>
                <span class="ev-bar-text">{{ cell.text }}</span>
              </template>
              <svg v-else-if="cell?.spark" class="ev-spark" viewBox="0 0 96 26" role="img" :aria-label="cell.text" preserveAspectRatio="none">
                <polyline v-if="cell.reference" class="reference" :points="drawn(cell, cell.reference)" />
                <polyline v-if="cell.spark.values.length > 1" :points="drawn(cell, cell.spark)" />
                <circle v-else-if="cell.spark.values.length" cx="2" :cy="drawn(cell, cell.spark).split(',')[1]" r="1.6" />
              </svg>
              <span v-else-if="cell?.mark" class="ev-mark" :class="'mark-' + cell.mark">{{ cell.text }}</span>
              <template v-else>{{ cell?.text ?? cell }}</template>
              <span v-if="cell?.under" class="ev-under">{{ cell.under }}</span>
            </td>
          </tr>
        </tbody>
      </table>
    </div>`,
  props: { columns: Array, rows: Array, caption: String, sort: String, choosable: Boolean, stacked: Boolean },
  emits: ["sort", "choose"],
  methods: {
    order(column) {
      if (!column.sort) return undefined;
      if (this.sort === column.sort) return "ascending";
      return this.sort === `-${column.sort}` ? "descending" : "none";
    },
    arrow(column) {
      const order = this.order(column);
      return order === "ascending" ? " ▲" : order === "descending" ? " ▼" : "";
    },
    classes(cell, column) {
      return { end: column?.end, wrap: column?.wide, mono: cell?.mono, [`text-${cell?.tone}`]: cell?.tone && cell.bar === undefined };
    },
    link(href) {
      return /^\/(?![/\\])/.test(href) ? (window.path_prefix ?? "") + href : undefined;
    },
    width(share) {
      return `${Math.round(1000 * Math.min(1, Math.max(0, share))) / 10}%`;
    },
    drawn(cell, points) {
      const values = [...cell.spark.values, ...(cell.reference?.values ?? [])];
      return curve(points, 96, 26, [Math.min(...values), Math.max(...values)]);
    },
  },
};
