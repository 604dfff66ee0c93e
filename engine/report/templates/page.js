"use strict";
(() => {
  const holder = document.getElementById("figures");
  const plots = holder ? JSON.parse(holder.textContent) : {};
  const options = {displayModeBar: false};
  for (const [name, figure] of Object.entries(plots)) {
    Plotly.newPlot("plot-" + name, figure.data, figure.layout, options);
  }
  const resized = new ResizeObserver((entries) => entries.forEach(({target}) => Plotly.Plots.resize(target)));
  document.querySelectorAll(".js-plotly-plot").forEach((plot) => resized.observe(plot));
  const fit = () => document.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.Plots.resize(plot));
  addEventListener("beforeprint", fit);
  addEventListener("afterprint", fit);

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        const order = typeof x === "number" && typeof y === "number"
          ? x - y : String(x).localeCompare(String(y), undefined, {numeric: true});
        return sign * order;
      });
      table.tBodies[0].append(...rows);
    }));
  });
  document.documentElement.dataset.ready = "true";
})();
