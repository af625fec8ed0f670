// Two finished jobs side by side.

import { all, get } from "./client.js";
import { badge, h, number, percent, put, sortable, table } from "./dom.js";
import { gains } from "./charts.js";

async function one(id) {
	const [job, layers, artifacts] = await Promise.all([get("/v1/jobs/" + id), get("/v1/jobs/" + id + "/layers"), get("/v1/jobs/" + id + "/artifacts")]);
	const report = artifacts.data.find((a) => a.name === "report.json");
	return { job, layers: layers.data, by: Object.fromEntries(layers.data.map((l) => [l.weight, l])), accuracy: report ? (await get(report.url)).accuracy || [] : [] };
}

const text = (v) => h("span", { class: "mono" }, v === undefined ? "–" : JSON.stringify(v));

function settings(a, b) {
	const names = [...new Set([...Object.keys(a.params), ...Object.keys(b.params)])].filter((n) => JSON.stringify(a.params[n]) !== JSON.stringify(b.params[n]));
	const inputs = [["model", a.model.id, b.model.id], ["calibration data", a.calibration.id, b.calibration.id]].filter(([, x, y]) => x !== y);
	const rows = [...inputs.map(([what, x, y]) => ({ what, a: x, b: y })), ...names.map((n) => ({ what: n, a: a.params[n], b: b.params[n] }))];
	if (!rows.length) return h("p", {}, "None: model, data and settings are the same.");
	return table("Settings that differ", [{ title: "Setting", show: (r) => r.what }, { title: "A", show: (r) => text(r.a) }, { title: "B", show: (r) => text(r.b) }], rows, true);
}

const MEASURES = [["accuracy", "accuracy"], ["top_k", "top k"], ["retrieval", "retrieval"], ["agreement", "agreement with the float model"]];

// Each measure of each row that both tables have.
function accuracy(a, b) {
	const rows = [], name = (r) => ({ fp32: "float", minmax: "full ranges", searched: "searched" })[r.weights] + (r.weights === "fp32" ? "" : r.activations ? ", with activations" : ", weights only");
	for (const x of a) {
		const y = b.find((r) => r.weights === x.weights && r.activations === x.activations);
		if (!y || (x.weights === "fp32" && x.accuracy === y.accuracy && x.retrieval === y.retrieval)) continue;
		for (const [k, title] of MEASURES) if (x[k] !== null || y[k] !== null) rows.push({ who: name(x), what: title, a: x[k], b: y[k], d: 4 });
		for (const o of x.outputs) {
			const p = y.outputs.find((q) => q.name === o.name);
			if (p && o.sqnr_db !== null && p.sqnr_db !== null) rows.push({ who: name(x), what: "SQNR of " + o.name + ", dB", a: o.sqnr_db, b: p.sqnr_db, d: 3 });
		}
	}
	if (!rows.length) return h("p", { class: "muted" }, "Only jobs with evaluation data have an accuracy table; both need one.");
	return table("Accuracy of both", [{ title: "Weights", name: true, show: (r) => r.who }, { title: "Measure", name: true, show: (r) => r.what }, { title: "A", n: true, show: (r) => number(r.a, r.d) }, { title: "B", n: true, show: (r) => number(r.b, r.d) },
		{ title: "B − A", n: true, show: (r) => (r.a === null || r.b === null ? "–" : (r.b > r.a ? "+" : "") + number(r.b - r.a, 2)) }], rows, true);
}

function layerTable(a, b) {
	const rows = a.layers.filter((l) => b.by[l.weight]).map((l) => ({ a: l, b: b.by[l.weight] }));
	const ratio = (r) => (r.a.loss > 0 && r.b.loss !== null ? r.b.loss / r.a.loss - 1 : null), other = (r) => (r.a.chosen.length === r.b.chosen.length ? r.a.chosen.filter((c, i) => c !== r.b.chosen[i]).length : null);
	const view = sortable([
		{ title: "#", n: true, value: (r) => r.a.index, show: (r) => r.a.index },
		{ title: "Layer", name: true, value: (r) => r.a.node, show: (r) => r.a.node },
		{ title: "Loss A", n: true, value: (r) => r.a.loss, show: (r) => number(r.a.loss) },
		{ title: "Loss B", n: true, value: (r) => r.b.loss, show: (r) => number(r.b.loss) },
		{ title: "B against A", n: true, value: ratio, show: (r) => (ratio(r) === null ? "–" : h("span", { class: ratio(r) > 0 ? "worse" : ratio(r) < 0 ? "better" : null }, (ratio(r) > 0 ? "+" : "") + percent(ratio(r)))) },
		{ title: "Saved A", n: true, value: (r) => r.a.gain, show: (r) => percent(r.a.gain) },
		{ title: "Saved B", n: true, value: (r) => r.b.gain, show: (r) => percent(r.b.gain) },
		{ title: "Other choices", n: true, value: other, show: (r) => other(r) ?? "–" },
	]);
	view.update(`${rows.length} layers that both have`, rows);
	return view.box;
}

const card = (x, which) => h("section", {}, h("h2", {}, which + ": ", h("a", { href: "#/jobs/" + x.job.id }, x.job.name || x.job.id), " ", badge(x.job.status)), h("p", { class: "muted" }, "Error left per layer, of what its full ranges lose"), gains(x.layers));

export async function compare(box, signal, first, second) {
	const jobs = await all("/v1/jobs?status=succeeded");
	const label = (j) => `${j.name || j.id}, ${j.params.param_bw} bits`;
	const choose = (which, chosen) => {
		const select = h("select", { id: "job-" + which, onchange: () => { location.hash = "#/compare/" + (which === "a" ? select.value : first || "") + (which === "b" ? "/" + select.value : second ? "/" + second : ""); } },
			h("option", { value: "" }, "– choose a job –"), jobs.map((j) => h("option", { value: j.id, selected: j.id === chosen }, label(j))));
		return h("div", {}, h("label", { for: "job-" + which }, which.toUpperCase()), select);
	};
	put(box, h("h1", {}, "Compare"), h("div", { class: "card" }, h("div", { class: "two" }, choose("a", first), choose("b", second)),
		jobs.length < 2 ? h("p", { class: "muted" }, "Two finished jobs are needed. ", h("a", { href: "#/new" }, "Start one")) : !first || !second ? h("p", { class: "muted" }, "Choose two jobs to see their settings, accuracy and every layer side by side.") : null));
	if (!first || !second) return;
	const [a, b] = await Promise.all([one(first), one(second)]);
	if (signal.aborted) return;
	box.append(h("section", {}, h("h2", {}, "Settings that differ"), settings(a.job, b.job)), h("section", {}, h("h2", {}, "Accuracy"), accuracy(a.accuracy, b.accuracy)),
		h("div", { class: "two" }, card(a, "A"), card(b, "B")), h("section", {}, h("h2", {}, "Layers"), layerTable(a, b)));
}
