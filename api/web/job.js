// One job: how far it is, what it found, what can be downloaded.

import { all, download, events, get, pause, send } from "./client.js";
import { ago, badge, bytes, h, number, percent, problem, put, say, seconds, table, tile } from "./dom.js";
import { bins, gains, histogram } from "./charts.js";
import { counts, layerView } from "./layers.js";

const ENDED = ["succeeded", "failed", "canceled"];
const PHASES = [["load", "Load"], ["search", "Search"], ["calibrate", "Calibrate"], ["evaluate", "Evaluate"], ["export", "Export"]];

// What somebody can do about a failure.
const ADVICE = {
	"out-of-memory-budget": "Use fewer samples (num_batches) or smaller batches (batch_size), or let the administrator raise --max-job-memory-bytes.",
	"deadline-exceeded": "Give it a longer deadline_seconds, or use fewer samples; “Run again” begins with the layers that are finished.",
	"calibration-mismatch": "Compare the names, shapes and types of the arrays with the model's inputs; “inputs” in the settings maps one to the other.",
	"non-finite-activation": "Look for NaN or infinity in the calibration data, and whether the float model itself is sound on them.",
	"unsupported-graph": "The message names the node. A newer export of the model often helps.",
	"bad-param": "Change the setting that the message names, and submit again.",
	"worker-crashed": "The process died three times. If this model does it every time, please report it.",
	internal: "This is a fault of the server. Its log has more, under this job's id.",
};

function actions(j, redo) {
	const act = (verb, text, style) => h("button", { type: "button", class: style, onclick: async () => {
		try {
			const made = await send("POST", `/v1/jobs/${j.id}/${verb}`);
			if (made && made.id && made.id !== j.id) location.hash = "#/jobs/" + made.id;
			else redo();
		} catch (e) { say(e.message); }
	} }, text);
	const forget = h("button", { type: "button", class: "danger", onclick: async () => {
		if (forget.textContent === "Forget") return put(forget, "Really forget?");
		try { await send("DELETE", "/v1/jobs/" + j.id); location.hash = "#/"; } catch (e) { say(e.message); }
		return null;
	} }, "Forget");
	return h("div", { class: "row" },
		j.status === "running" || j.status === "queued" ? [act("pause", "Pause", "quiet"), act("cancel", "Cancel", "danger")] : null,
		j.status === "paused" ? [act("resume", "Resume"), act("cancel", "Cancel", "danger")] : null,
		ENDED.includes(j.status) ? [act("retry", "Run again", "quiet"), h("a", { class: "button quiet", href: "#/new/" + j.id }, "Change and run"), j.status === "succeeded" ? h("a", { class: "button quiet", href: "#/compare/" + j.id }, "Compare") : null, forget] : null);
}

function head(j, names, redo) {
	const facts = [names.model, names.calibration, `${j.params.param_bw} bits`, "submitted " + ago(j.created_at) + (j.owner ? " by " + j.owner : "")];
	return [h("div", { class: "row apart" }, h("h1", {}, j.name || j.id, " ", badge(j.status)), actions(j, redo)), h("p", { class: "muted facts" }, facts.map((f) => h("span", {}, f)))];
}

function failure(j) {
	if (!j.error) return null;
	return h("section", { class: "problem" }, h("h2", {}, "Why it failed"), h("p", { class: "error" }, j.error.detail, " ", h("span", { class: "mono" }, `(${j.error.code})`)),
		ADVICE[j.error.code] ? h("p", {}, ADVICE[j.error.code]) : null);
}

function progress(j, p) {
	if (j.status === "queued") return h("section", {}, h("h2", {}, "Waiting"), h("p", {}, j.queue_position ? `Number ${j.queue_position} in the queue. It starts by itself.` : "In the queue."));
	if (j.status !== "running" && j.status !== "paused") return null;
	const at = PHASES.findIndex(([k]) => k === p.phase);
	return h("section", {}, h("h2", { class: "hidden" }, "Progress"),
		h("ol", { class: "phases" }, PHASES.map(([, text], i) => h("li", { class: i < at ? "done" : i === at ? "now" : null, "aria-current": i === at ? "step" : null }, text))),
		h("progress", { max: 1, value: p.fraction, "aria-label": "progress" }),
		h("p", { class: "row apart" }, h("span", {}, `${percent(p.fraction)}, layer ${p.layers_done} of ${p.layers_total || "…"}`), h("span", { class: "muted" }, p.eta_seconds ? "about " + seconds(p.eta_seconds) + " left" : j.status === "paused" ? "paused" : "")),
		p.current ? h("p", { class: "muted mono" }, p.current) : null);
}

function tiles(j, layers) {
	const saved = layers.map((l) => l.gain).filter((g) => g !== null && g !== undefined);
	return h("div", { class: "tiles" }, tile(number(layers.length, 6), "layers"), tile(number(layers.reduce((n, l) => n + l.chosen.length, 0), 6), "grids"),
		tile(percent(saved.reduce((a, b) => a + b, 0) / Math.max(saved.length, 1)), "of the error saved, on average over the layers"), tile(number(j.calibration.samples_used || j.calibration.samples, 6), "samples"),
		j.finished_at ? [tile(seconds(j.usage.wall_seconds), "in all"), tile(bytes(j.usage.peak_rss_bytes), "memory at most")] : null);
}

const cell = (row, k) => (row[k] === null || row[k] === undefined ? "–" : number(row[k], 4));

export function accuracy(rows) {
	const shares = [["accuracy", "Accuracy"], ["top_k", "Top " + rows[0].k], ["retrieval", "Retrieval"], ["agreement", "Agreement"]].filter(([k]) => rows.some((r) => r[k] !== null));
	return table("On the evaluation data; agreement: how often the first choice is the float model's", [
		{ title: "Weights", show: (r) => ({ fp32: "float", minmax: "full ranges", searched: "searched" })[r.weights] || r.weights },
		{ title: "Activations", show: (r) => (r.activations ? "quantized" : "float") },
		...shares.map(([k, title]) => ({ title, n: true, show: (r) => cell(r, k) })),
		{ title: "Outputs against the float model", show: (r) => r.outputs.map((o) => h("div", {}, o.sqnr_db === null ? o.name + ": the same" : `${o.name}: SQNR ${number(o.sqnr_db)} dB, cosine ${number(o.cosine, 4)}`)) },
	], rows);
}

const PARTS = 20;

function charts(layers) {
	const all = Array(PARTS).fill(0); // layers may have had other numbers of candidates
	for (const l of layers) bins(counts(l), PARTS).forEach((n, i) => { all[i] += n; });
	return h("div", { class: "two" }, h("section", {}, h("h2", {}, "Error left per layer"), h("p", { class: "muted" }, "Of what the full ranges lose; the pale part is saved."), gains(layers)),
		h("section", {}, h("h2", {}, "Chosen ranges"), h("p", { class: "muted" }, "How many grids took which part of their full range."), histogram(all)));
}

function files(j, artifacts) {
	const page = artifacts.find((a) => a.name === "report.html");
	const save = (a, text, style, show) => h("button", { type: "button", class: style, onclick: () => download(a.url, a.name, show).catch((e) => say(e.message)) }, text);
	const product = artifacts.find((a) => a.name === "model_1_0_0.encodings");
	return h("section", {}, h("h2", {}, "Files"), h("p", { class: "row" }, product ? save(product, "Download the encodings") : null, page ? save(page, "Read the report", "quiet", true) : null),
		h("ul", { class: "files" }, artifacts.map((a) => h("li", {}, save(a, a.name, "link"), " ", h("span", { class: "muted" }, bytes(a.size))))));
}

function settings(j) {
	const set = Object.entries(j.params).filter(([, v]) => v !== null && !(Array.isArray(v) && !v.length));
	const rows = [["job", j.id], ["model", j.model.id], ["calibration", j.calibration.id], ["attempt", j.attempt], ...(j.retry_of ? [["run again from", j.retry_of]] : []), ...(j.reused_from ? [["results of", j.reused_from]] : []), ...set];
	return h("div", { class: "card" }, h("details", {}, h("summary", {}, "Settings and inputs"), h("dl", {}, rows.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", { class: "mono" }, typeof v === "object" ? JSON.stringify(v) : String(v)))))));
}

// What happened, for people; fetched when it is opened.
function log(j) {
	const box = h("div");
	const load = async (e) => {
		if (!e.target.open) return;
		try {
			const lines = await all(`/v1/jobs/${j.id}/logs`);
			put(box, lines.length ? h("ol", { class: "log mono" }, lines.map((x) => h("li", { class: x.level === "error" ? "error" : x.level === "warning" ? "warning" : null }, h("time", { datetime: x.at, class: "muted" }, new Date(x.at).toLocaleTimeString()), " ", x.text))) : h("p", { class: "muted" }, "Nothing yet."));
		} catch (x) { put(box, problem(x)); }
	};
	return h("div", { class: "card" }, h("details", { ontoggle: load, open: j.status === "failed" }, h("summary", {}, "Log"), box));
}

function warnings(list) {
	return h("section", {}, h("h2", {}, list.length === 1 ? "Warning" : list.length + " warnings"), h("ul", { class: "plain" }, list.map((w) => h("li", {}, h("span", { class: "warning mono" }, w.code), " ", w.layer ? w.layer + ": " : "", w.detail))));
}

async function reportOf(j, artifacts, signal) {
	const a = artifacts.find((x) => x.name === "report.json");
	return a ? get(a.url, signal) : null;
}

export async function job(box, signal, id) {
	const top = h("div"), bar = h("div"), middle = h("div"), end = h("div"), layers = layerView(id), tilesBox = h("div");
	put(box, top, bar, tilesBox, middle, layers.box, end);
	const [models, calibrations] = await Promise.all([all("/v1/models"), all("/v1/calibrations")]);
	const name = (list, id) => (list.find((x) => x.id === id) || {}).name || id;

	// Everything again: when the job got another status.
	async function draw() {
		const j = await get("/v1/jobs/" + id, signal);
		document.title = (j.name || "Job") + ", " + j.status + " – seqmsed";
		put(top, head(j, { model: name(models, j.model.id), calibration: name(calibrations, j.calibration.id) }, draw), failure(j));
		put(bar, progress(j, j.progress));
		const found = await drawLayers(j), artifacts = j.status === "succeeded" ? (await get(`/v1/jobs/${id}/artifacts`, signal)).data : [];
		const report = await reportOf(j, artifacts, signal);
		put(middle, artifacts.length ? files(j, artifacts) : null,
			report?.accuracy?.length ? h("section", {}, h("h2", {}, "Accuracy"), accuracy(report.accuracy)) : null,
			ENDED.includes(j.status) && found.length ? charts(found) : null, j.warnings.length ? warnings(j.warnings) : null);
		put(end, log(j), settings(j));
		return j;
	}
	async function drawLayers(j) {
		const found = (await get(`/v1/jobs/${id}/layers`, signal)).data;
		put(tilesBox, found.length ? tiles(j, found) : null);
		layers.update(found);
		return found;
	}

	let j = await draw();
	for (let last = Date.now(); !signal.aborted && !ENDED.includes(j.status); await pause(500, signal)) {
		for await (const e of events(id, signal)) {
			if (signal.aborted) return;
			if (e.event === "status") j = await draw();
			else if (e.event === "progress") put(bar, progress(j, JSON.parse(e.data)));
			else if (e.event === "layer" && Date.now() - last > 1000) {
				last = Date.now();
				await drawLayers(j);
			}
			if (ENDED.includes(j.status)) return;
		}
		if (!signal.aborted) j = await draw();
	}
}
