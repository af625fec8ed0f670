// The layers of a job: a table that sorts and filters, and one of them in detail.

import { get } from "./client.js";
import { curve, histogram, word } from "./charts.js";
import { h, number, percent, problem, put, seconds, sortable } from "./dom.js";

const shape = (l) => {
	const t = l.settings || {};
	return [t.param_bw && t.param_bw + " bits", t.granularity && t.granularity.replaceAll("_", " ") + (t.block_size ? " of " + t.block_size : ""), t.symmetric === false && "asymmetric",
		t.loss_fn, t.fell_back && "fell back to the full range"].filter(Boolean).join(", ");
};

async function detail(box, id, l) {
	put(box, h("div", { class: "row apart" }, h("h3", { id: "layer-title", tabindex: -1 }, l.node), h("button", { type: "button", class: "quiet", onclick: () => put(box) }, "Close")),
		h("p", { class: "muted" }, `${l.op_type}, ${l.channels} channels of ${l.fan_in} weights. ${shape(l)}. ${l.rechecked} decisions were checked again in double precision.`),
		h("p", { class: "muted mono" }, l.weight),
		h("p", {}, `Loss ${number(l.loss)} instead of ${number(l.minmax_loss)} with full ranges: ${percent(l.gain)} saved.`));
	document.getElementById("layer-title").focus();
	const charts = h("div", { class: "two" });
	box.append(charts);
	try {
		const c = await get(`/v1/jobs/${id}/layers/${l.index}/curve`);
		if (!c.points.length) return put(charts, h("p", { class: "muted" }, "Nothing was searched in this layer."));
		put(charts, h("figure", {}, h("figcaption", {}, "Loss with one range for all grids; pale: how many chose it"), c.points.some((p) => p.loss !== null) ? curve(c.points, c.loss) : h("p", { class: "muted" }, "No range was tried for all grids.")),
			h("figure", {}, h("figcaption", {}, "How many grids chose which part of their full range"), histogram(c.points.map((p) => p.chosen))));
	} catch (e) { put(charts, problem(e)); }
	return charts;
}

// Made once for a page and given new layers as they come: filter, order and the layer that is looked at stay.
export function layerView(id) {
	const box = h("section", { hidden: true }), more = h("div", { class: "detail" });
	const filter = h("input", { id: "layer-filter", type: "search", placeholder: "part of a name, or an operator", oninput: () => draw() });
	const rows = sortable([
		{ title: "#", n: true, value: (l) => l.index, show: (l) => l.index },
		{ title: "Layer", name: true, value: (l) => l.node, show: (l) => h("button", { type: "button", class: "link", title: "Loss curve and chosen ranges", onclick: () => detail(more, id, l) }, l.node) },
		{ title: "Operator", value: (l) => l.op_type, show: (l) => l.op_type },
		{ title: "Channels", n: true, value: (l) => l.channels, show: (l) => l.channels },
		{ title: "Weights each", n: true, value: (l) => l.fan_in, show: (l) => l.fan_in },
		{ title: "Full range's loss", n: true, value: (l) => l.minmax_loss, show: (l) => number(l.minmax_loss) },
		{ title: "Loss", n: true, value: (l) => l.loss, show: (l) => number(l.loss) },
		{ title: "Saved", n: true, value: (l) => l.gain, show: (l) => percent(l.gain) },
		{ title: "Chosen", value: (l) => l.mean, show: (l) => (l.counts.length ? word(l.counts) : "–") },
		{ title: "Time", n: true, value: (l) => l.ms, show: (l) => seconds(l.ms / 1000) },
	]);
	let layers = [];
	function draw() {
		const text = filter.value.toLowerCase(), shown = layers.filter((l) => (l.node + " " + l.op_type + " " + l.weight).toLowerCase().includes(text));
		rows.update(shown.length === layers.length ? `${layers.length} layers; a name opens its loss curve` : `${shown.length} of ${layers.length} layers`, shown);
	}
	put(box, h("div", { class: "row apart" }, h("h2", {}, "Layers"), h("div", { class: "filter" }, h("label", { for: "layer-filter" }, "Filter"), filter)), rows.box, more);
	return { box, update(now) {
		layers = now.map((l) => ({ ...l, counts: counts(l), mean: mean(l) }));
		box.hidden = !layers.length;
		draw();
	} };
}

// How many grids chose each candidate.
export function counts(l) {
	if (l.histogram) return l.histogram;
	const out = Array(l.settings?.candidates || Math.max(-1, ...l.chosen) + 1).fill(0);
	for (const c of l.chosen) out[c]++;
	return out;
}

const mean = (l) => (l.chosen?.length ? l.chosen.reduce((a, b) => a + b + 1, 0) / l.chosen.length / (l.settings?.candidates || 20) : null);
