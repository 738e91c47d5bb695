(() => {
  "use strict";
  // Tables: a button in each head cell that has an order, by pointer and by keyboard alike.
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!head.hasAttribute("data-sort")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => {
          const cell = row.cells[column];
          return cell.hasAttribute("data-value") ? cell.getAttribute("data-value") : cell.textContent.trim();
        };
        const numeric = head.getAttribute("data-sort") === "number";
        const order = (a, b) => {
          const [x, y] = [key(a), key(b)];
          // What has no value stays at the end, whichever way the rest is sorted.
          if (x === "" || y === "") return Number(x === "") - Number(y === "");
          const by = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
          return down ? -by : by;
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }

  // Charts: the values under the pointer, read off the lines as they are drawn, hence "about".
  const digits = (v) => {
    const size = Math.abs(v);
    if (size === 0) return "0";
    const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(9, 2 - Math.floor(Math.log10(size)));
    return String(Number(v.toFixed(places)));
  };
  const scaled = (v, steps) => {
    const [size, name] = steps.find(([from]) => Math.abs(v) >= from) || steps[steps.length - 1];
    return digits(v / size) + " " + name;
  };
  const show = {
    ns: (v) => scaled(v, [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]]),
    bytes: (v) => scaled(v, [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]]),
    per_s: (v) => digits(v) + "/s",
    count: (v) => digits(v),
    cores: (v) => digits(v * 100) + " % of a core",
    ratio: (v) => digits(v * 100) + " %",
    s: (v) => digits(v) + " s",
    percentile: (v) => "p" + String(Number((100 * (1 - Math.pow(10, -v))).toFixed(Math.max(1, Math.ceil(v))))),
  };
  const axis = (text) => {
    const [kind, from, to, low, high, unit] = text.split(" ");
    const [a, b, l, h] = [from, to, low, high].map(Number);
    const value = (at) => {
      const share = (at - l) / (h - l);
      return kind === "log" ? a * Math.pow(b / a, share) : a + share * (b - a);
    };
    return { value, low: Math.min(l, h), high: Math.max(l, h), show: show[unit] || digits };
  };
  // Path data as this program writes it: one absolute move, then relative moves and lines.
  const points = (d) => {
    const out = [];
    let [x, y, first] = [0, 0, null];
    for (const word of d.replace(/h0/g, "").match(/-?(?:\d+\.?\d*|\.\d+)/g) || []) {
      if (first === null) first = Number(word);
      else {
        x += first;
        y += Number(word);
        out.push([x, y]);
        first = null;
      }
    }
    return out;
  };
  const NEAR = 14;
  for (const chart of document.querySelectorAll("svg.chart")) {
    const groups = [...chart.querySelectorAll("g.panel")];
    if (groups.length === 0) continue;
    const figure = chart.closest("figure");
    let panels = null;
    const read = () => {
      panels = panels || groups.map((group) => {
        const lines = new Map();
        for (const path of group.querySelectorAll("path[data-name]")) {
          const name = path.getAttribute("data-name");
          lines.set(name, [...(lines.get(name) || []), ...points(path.getAttribute("d"))]);
        }
        return { x: axis(group.getAttribute("data-x")), y: axis(group.getAttribute("data-y")), lines };
      });
      return panels;
    };
    let [cursor, readout, at] = [null, null, null];
    const clear = () => {
      cursor?.remove();
      readout?.remove();
      [cursor, readout] = [null, null];
    };
    const point = (x) => {
      clear();
      const all = read();
      at = Math.max(all[0].x.low, Math.min(all[0].x.high, x));
      readout = document.createElement("div");
      readout.className = "readout";
      readout.setAttribute("role", "status");
      const head = document.createElement("strong");
      head.textContent = all[0].x.show(all[0].x.value(at));
      const table = document.createElement("table");
      for (const panel of all) {
        for (const [name, line] of [...panel.lines].reverse()) {
          let nearest = null;
          for (const p of line) if (nearest === null || Math.abs(nearest[0] - at) > Math.abs(p[0] - at)) nearest = p;
          if (nearest === null || Math.abs(nearest[0] - at) > NEAR) continue;
          // Where a column of pixels holds several values the line shows the lowest and the highest.
          const same = line.filter((p) => 1.5 > Math.abs(p[0] - nearest[0])).map((p) => panel.y.value(p[1]));
          const texts = [...new Set([Math.min(...same), Math.max(...same)].map(panel.y.show))];
          const row = table.insertRow();
          row.insertCell().textContent = name;
          const value = row.insertCell();
          value.className = "n";
          value.textContent = "≈ " + texts.join(" – ");
        }
      }
      readout.append(head, table);
      figure.append(readout);
      cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
      cursor.setAttribute("class", "cursor");
      const ends = all.flatMap((panel) => [panel.y.low, panel.y.high]);
      cursor.setAttribute("d", `M${at} ${Math.min(...ends)}V${Math.max(...ends)}`);
      chart.append(cursor);
      const [box, frame] = [chart.getBoundingClientRect(), figure.getBoundingClientRect()];
      const left = box.left - frame.left + (at / chart.viewBox.baseVal.width) * box.width;
      const room = frame.width - readout.offsetWidth;
      const beside = left + 16 > room ? left - readout.offsetWidth - 16 : left + 16;
      readout.style.left = Math.max(0, Math.min(room, beside)) + "px";
      readout.style.top = "1.5rem";
    };
    const place = (event) => {
      const box = chart.getBoundingClientRect();
      return ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    };
    chart.addEventListener("pointermove", (event) => point(place(event)));
    chart.addEventListener("pointerdown", (event) => point(place(event)));
    chart.addEventListener("pointerleave", clear);
    chart.setAttribute("tabindex", "0");
    chart.addEventListener("blur", clear);
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -6, ArrowRight: 6 }[event.key];
      if (event.key === "Escape") clear();
      if (!step) return;
      event.preventDefault();
      const { low, high } = read()[0].x;
      point((at === null ? (low + high) / 2 : at) + step);
    });
  }
})();
