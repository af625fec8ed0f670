// Charts as inline SVG, each with its figures as text for those who do not see it.

import { number, percent, s } from "./dom.js";

const short = (x) => Number(x).toLocaleString("en", { notation: "compact", maximumSignificantDigits: 2 });
const W = 640, H = 200, LEFT = 52, FOOT = 26, TOP = 10, RIGHT = 6;
const width = W - LEFT - RIGHT, height = H - FOOT - TOP;

const text = (x, y, anchor, what) => s("text", { x, y, "text-anchor": anchor }, what);
const line = (y, style = "axis") => s("line", { class: style, x1: LEFT, x2: W - RIGHT, y1: y, y2: y });

function frame(label, ...inside) {
	return s("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": label }, line(TOP), line(TOP + height / 2), line(TOP + height), inside);
}

// The i-th of n bars, from one share of the height to another.
function bar(style, i, n, from, to) {
	const step = width / n, gap = step > 4 ? 0.12 * step : 0;
	return s("rect", { class: style, x: LEFT + i * step + gap, y: TOP + height * (1 - to), width: Math.max(step - 2 * gap, 0.4), height: Math.max(height * (to - from), 0) });
}

// Many candidates as n bars: what counts is the part of the full range.
export function bins(counts, n) {
	const out = Array(n).fill(0);
	counts.forEach((c, i) => { out[Math.ceil(((i + 1) * n) / counts.length) - 1] += c; });
	return out;
}

const share = (i, n) => percent((i + 1) / n);
const sum = (list) => list.reduce((a, b) => a + b, 0);

// counts[i]: how many grids chose candidate i.
export function histogram(list) {
	const counts = list.length > 100 ? bins(list, 100) : list, most = Math.max(...counts, 1), n = counts.length, total = sum(counts);
	return frame(`Chosen ranges: ${total - counts[n - 1]} of ${total} grids are better off with less than the full range.`,
		counts.map((c, i) => s("g", {}, bar("bar", i, n, 0, c / most), s("title", {}, `${share(i, n)} of the full range: ${c} of ${total} grids`))),
		[0.25, 0.5, 0.75, 1].map((f) => text(LEFT + width * f, H - 8, "end", percent(f))),
		text(LEFT - 6, TOP + 4, "end", String(most)), text(LEFT - 6, TOP + height + 4, "end", "0"));
}

// The same as small as a word.
export function word(list) {
	const counts = list.length > 40 ? bins(list, 40) : list, most = Math.max(...counts, 1), step = 80 / counts.length;
	return s("svg", { viewBox: "0 0 80 18", class: "word", role: "img", "aria-label": "grids by candidate: " + counts.join(" ") },
		counts.map((c, i) => (c ? s("rect", { class: "bar", x: i * step, y: 18 - Math.max((18 * c) / most, 1), width: step * 0.85, height: Math.max((18 * c) / most, 1) }) : null)));
}

// Of each layer, how much of the full range's error is left, and in pale how much is gone.
export function gains(layers) {
	const rest = (l) => Math.min(Math.max(1 - (l.gain ?? 0), 0), 1);
	return frame(`Error that is left, against the full range, of ${layers.length} layers.`,
		layers.map((l, i) => s("g", {}, bar("bar", i, layers.length, 0, rest(l)), bar("back", i, layers.length, rest(l), 1),
			s("title", {}, `${l.node}: ${number(l.loss)} instead of ${number(l.minmax_loss)}, ${percent(l.gain)} saved`))),
		text(LEFT - 6, TOP + 4, "end", "100 %"), text(LEFT - 6, TOP + height + 4, "end", "0 %"),
		text(LEFT, H - 8, "start", "first layer"), text(W - RIGHT, H - 8, "end", "last layer"));
}

// What a layer loses if all its grids take the same candidate; behind it, in pale, how many chose each. A dashed line: what it loses as it was chosen.
export function curve(points, loss) {
	const known = points.filter((p) => p.loss !== null), all = [...known.map((p) => p.loss), loss].filter((x) => x !== null);
	// Losses far apart are drawn by their logarithms.
	const wide = Math.min(...all) > 0 && Math.max(...all) > 30 * Math.min(...all), f = wide ? Math.log10 : (x) => x;
	const low = wide ? f(Math.min(...all)) : Math.min(0, ...all), high = f(Math.max(...all));
	const x = (p) => LEFT + (width * (p.candidate + 0.5)) / points.length, y = (v) => TOP + height * (1 - (f(v) - low) / (high - low || 1));
	const most = Math.max(...points.map((p) => p.chosen), 1);
	const best = known.reduce((a, b) => (b.loss < a.loss ? b : a), known[0] || { range: 1, loss: null });
	return frame(`Loss by range: with one range for all grids ${percent(best.range)} of the full one is best, ${number(best.loss)}; chosen grid by grid the loss is ${number(loss)}.`,
		points.map((p, i) => bar("back", i, points.length, 0, (0.9 * p.chosen) / most)),
		loss === null ? null : [line(y(loss), "dashed"), text(W - RIGHT - 2, y(loss) - 5, "end", "as chosen: " + number(loss))],
		s("polyline", { class: "curve", points: known.map((p) => x(p) + "," + y(p.loss)).join(" ") }),
		known.map((p) => s("circle", { class: "bar", cx: x(p), cy: y(p.loss), r: 3.5 }, s("title", {}, `${percent(p.range)} of the full range: loss ${number(p.loss)}, chosen by ${p.chosen}`))),
		text(LEFT - 6, TOP + 4, "end", short(Math.max(...all))), text(LEFT - 6, TOP + height + 4, "end", short(wide ? Math.min(...all) : Math.min(0, ...all))),
		[0.25, 0.5, 0.75, 1].map((v) => text(LEFT + width * v, H - 8, "end", percent(v))));
}
