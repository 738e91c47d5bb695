"use strict";
// Asks for the state of the run once a second and draws it. Everything is written as text, never as markup.
const element = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const MOST = 900;
const [LEFT, BOTTOM] = [66, 18];
let points = [];
let last = 0;
let run = null;

function count(n) {
  if (n >= 1e6) return (n / 1e6).toFixed(2) + " M";
  if (n >= 1e4) return (n / 1e3).toFixed(1) + " k";
  return n >= 100 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(1);
}

function time(ns) {
  if (!ns) return "–";
  if (ns >= 1e9) return (ns / 1e9).toFixed(2) + " s";
  if (ns >= 1e6) return (ns / 1e6).toFixed(2) + " ms";
  return (ns / 1e3).toFixed(0) + " µs";
}

function make(parent, name, attributes, text) {
  const child = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
  if (text !== undefined) child.textContent = text;
  parent.append(child);
}

// Draws columns of the points as lines, each broken where the benchmark changes or a value is unknown.
function draw(id, columns, show, logarithmic) {
  const svg = element(id);
  svg.replaceChildren();
  // A unit of the drawing is a pixel, so that words are never stretched.
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const values = points.flatMap((p) => columns.map((c) => p[c])).filter((v) => v > 0);
  if (points.length < 2 || values.length === 0) return;
  const scale = logarithmic ? Math.log10 : (v) => v;
  const low = logarithmic ? Math.floor(scale(Math.min(...values))) : 0;
  let high = logarithmic ? Math.ceil(scale(Math.max(...values))) : Math.max(...values) * 1.05;
  if (high <= low) high = low + 1;
  const from = points[0][1], until = points[points.length - 1][1];
  const x = (p) => LEFT + ((p[1] - from) / (until - from || 1)) * (width - LEFT - 4);
  const y = (v) => 4 + (1 - (scale(v) - low) / (high - low)) * (height - BOTTOM - 8);
  const ticks = logarithmic ? Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)) : [0, high / 2, high];
  for (const tick of ticks) {
    make(svg, "line", { x1: LEFT, x2: width, y1: y(tick), y2: y(tick) });
    make(svg, "text", { x: LEFT - 4, y: y(tick) + 4, "text-anchor": "end" }, show(tick));
  }
  make(svg, "text", { x: LEFT, y: height - 4 }, `${from.toFixed(0)} s`);
  make(svg, "text", { x: width - 4, y: height - 4, "text-anchor": "end" }, `${until.toFixed(0)} s`);
  columns.forEach((column, index) => {
    let path = "", before = null;
    for (const p of points) {
      const known = !logarithmic || p[column] > 0;
      const joined = known && before !== null && before === p[2];
      if (known) path += `${joined ? "L" : "M"}${x(p).toFixed(1)} ${y(p[column]).toFixed(1)}`;
      before = known ? p[2] : null;
    }
    make(svg, "path", { d: path, class: index === 0 ? "a" : "b" });
  });
}

function rows(parent, items, cells) {
  parent.replaceChildren(...items.map(cells));
}

function cell(text, kind) {
  const td = document.createElement("td");
  td.textContent = text;
  if (kind) td.className = kind;
  return td;
}

function show(state) {
  if (state.run !== run) {
    run = state.run;
    points = [];
  }
  for (const p of state.points) {
    points.push(p);
    last = p[0];
  }
  points = points.slice(-MOST);
  element("suite").textContent = state.suite ? `${state.suite} (${state.profile}) · ${state.run}` : "eventbench";
  const c = state.current;
  const where = c ? `${c.number} of ${state.benchmarks}: ${c.name}${c.variant ? ` (${c.variant})` : ""} · trial ${c.trial} of ${c.trials} · ${c.load}` : "";
  element("state").textContent = state.verdict ? `ended: ${state.verdict}` : where || state.preparing || "waiting for the run";
  element("progress").value = state.verdict ? 1 : Math.min(1, state.elapsed_s / (state.expected_s || Infinity));
  const now = state.now;
  element("sent").textContent = `${count(now.sent_per_s)}/s (${count(now.sent)})`;
  element("done").textContent = `${count(now.done_per_s)}/s (${count(now.done)})`;
  element("p50").textContent = time(now.p50_ns);
  element("p99").textContent = time(now.p99_ns);
  element("open").textContent = count(now.open);
  element("failed").textContent = count(now.failed);
  rows(element("finished"), state.finished, (f) => {
    const tr = document.createElement("tr");
    tr.append(cell(f.verdict, f.verdict.replace(" ", "")), cell(f.name), cell(f.summary));
    return tr;
  });
  rows(element("notes"), state.notes, (note) => {
    const li = document.createElement("li");
    li.textContent = note;
    return li;
  });
  draw("rate", [3, 4], count, false);
  draw("latency", [5, 6], time, true);
  draw("backlog", [7, 8], count, false);
}

async function poll() {
  try {
    const answer = await fetch(`/live.json?after=${last}`);
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
  } catch (e) {
    element("state").textContent = "the run has ended, or cannot be reached; what is shown is the last that was heard";
    return;
  }
  setTimeout(poll, 1000);
}

poll();
