// Model and data in, settings, estimate, go.

import { all, get, send, upload, uploadPart } from "./client.js";
import { bytes, h, number, percent, problem, put, say, seconds } from "./dom.js";

// A box that takes files by drop or choice, or something uploaded before. take(files, tell) gives back the object that they became.
function source(what, title, hint, known, describe, take, changed) {
	const id = what + "-file", bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "upload of the " + title.toLowerCase() }), note = h("div", { class: "note", role: "status" });
	const label = (k) => (k.name || k.id) + ", " + bytes(k.size);
	const select = h("select", { id: what + "-known", onchange: () => pick(known.find((k) => k.id === select.value) || null) }, h("option", { value: "" }, known.length ? "– uploaded before –" : "– nothing yet –"),
		known.map((k) => h("option", { value: k.id }, label(k))));
	let chosen = null;
	function pick(object) {
		chosen = object;
		put(note, chosen ? describe(chosen) : null);
		box.classList.toggle("ready", !!chosen && chosen.status !== "incomplete");
		changed();
	}
	const tell = (file, done, again) => {
		bar.value = done / file.size;
		put(note, h("p", {}, `${file.name}: ${percent(done / file.size)} of ${bytes(file.size)}` + (again ? ", connecting again" : "")));
	};
	async function start(files) {
		if (!files.length) return;
		bar.hidden = false;
		try {
			const made = await take([...files], tell, chosen);
			if (!known.some((k) => k.id === made.id)) {
				known.unshift(made);
				select.append(h("option", { value: made.id }, label(made)));
			}
			select.value = made.id;
			pick(made);
			say(files[0].name + " is uploaded.");
		} catch (e) { put(note, problem(e)); }
		bar.hidden = true;
	}
	const drop = h("div", { class: "drop",
		ondragover: (e) => { e.preventDefault(); drop.classList.add("over"); }, ondragleave: () => drop.classList.remove("over"),
		ondrop: (e) => { e.preventDefault(); drop.classList.remove("over"); start(e.dataTransfer.files); } },
	h("label", { for: id }, "Drop a file here, or choose one"), h("p", { class: "hint" }, hint), h("input", { type: "file", id, multiple: what === "model", onchange: (e) => start(e.target.files) }), bar);
	function reuse(id) {
		const k = known.find((x) => x.id === id);
		if (k) select.value = id;
		if (k) pick(k);
	}
	const box = h("section", {}, h("h2", {}, title), drop, h("div", { class: "known" }, h("label", { for: what + "-known" }, "or take"), select), note);
	return { box, set: reuse, get: () => (chosen && chosen.status !== "incomplete" ? chosen : null) };
}

const base = (name) => name.split("/").pop();

// A model, and the files that it keeps its weights in, together or one after the other.
async function takeModel(files, tell, before) {
	const missing = (m) => (m && m.status === "incomplete" ? m.missing_files : []);
	const part = (m) => missing(m).map((name) => [name, files.find((f) => f.name === base(name))]).find(([, f]) => f);
	let m = before && part(before) ? before : null;
	if (!m) {
		const file = files.find((f) => f.name.endsWith(".onnx")) || files[0];
		m = await upload("models", file, {}, (n) => tell(file, n));
	}
	for (let next; (next = part(m));) m = await uploadPart(m.id, next[0], next[1], (n) => tell(next[1], n));
	return m;
}

function describeModel(m) {
	if (m.status === "incomplete") return h("p", { class: "warning" }, "It keeps weights in other files. Drop these, too: " + m.missing_files.join(", "));
	return h("p", {}, h("b", {}, `${m.layers.searchable} of ${m.layers.total} layers can be searched`), h("br"), "Inputs: " + m.inputs.map((i) => i.name + " " + JSON.stringify(i.shape)).join(", "));
}

const describeData = (c) => h("p", {}, h("b", {}, c.samples < 0 ? "Arrays of different lengths" : c.samples + " samples"), h("br"), "Arrays: " + c.arrays.map((a) => `${a.name} ${a.type}`).join(", "));

// The form field of one setting, from the daemon's own table. get() gives undefined for the default.
function field(t) {
	const id = "set-" + t.name, about = h("span", { class: "hint", id: id + "-hint" }, t.meaning), wrong = h("span", { class: "error", id: id + "-error", role: "alert" });
	const text = (v) => (v === null ? "" : t.kind === "globs" ? v.join("\n") : typeof v === "object" ? JSON.stringify(v) : String(v));
	const set = (v) => { if (t.kind === "bool") input.checked = v; else if (JSON.stringify(v) !== JSON.stringify(t.default)) input.value = text(v); };
	const made = (box, read) => ({ t, set, box: h("div", { class: "field" }, h("label", { for: id }, t.name.replaceAll("_", " ")), box, about, wrong), get: read,
		blame: (text) => { put(wrong, text); text ? input.setAttribute("aria-invalid", "true") : input.removeAttribute("aria-invalid"); } });
	const more = { id, "aria-describedby": id + "-hint " + id + "-error" };
	let input;
	if (t.kind === "bool") {
		input = h("input", { type: "checkbox", checked: t.default, ...more });
		return made(input, () => (input.checked === !!t.default ? undefined : input.checked));
	}
	if (t.kind === "choice") {
		input = h("select", more, t.choices.map((c) => h("option", { value: c, selected: c === t.default }, c.replaceAll("_", " "))));
		return made(input, () => (input.value === t.default ? undefined : input.value === "true" ? true : input.value === "false" ? false : input.value));
	}
	if (t.kind === "globs" || t.kind === "json") {
		input = h("textarea", { rows: 2, spellcheck: "false", placeholder: t.kind === "globs" ? "one glob a line" : "a word, or JSON", ...more });
		return made(input, () => {
			const text = input.value.trim();
			if (!text) return undefined;
			if (t.kind === "globs") return text.split("\n").map((x) => x.trim()).filter(Boolean);
			if (!/^[[{"]/.test(text)) return text;
			try { return JSON.parse(text); } catch (e) { throw Object.assign(new Error("This is no JSON: " + e.message), { errors: [{ pointer: "/params/" + t.name, detail: "no JSON: " + e.message }] }); }
		});
	}
	input = h("input", { inputmode: "decimal", autocomplete: "off", placeholder: String(t.default), ...more });
	return made(input, () => {
		const text = input.value.trim();
		return !text ? undefined : t.kind === "width" && isNaN(Number(text)) ? text : Number(text);
	});
}

const FIRST = ["param_bw", "output_bw", "num_candidates"];

function estimate(d) {
	const facts = [`${d.searchable} layers are searched`, `on ${d.samples_used} of ${d.samples} samples`];
	if (d.estimate) facts.push(`in about ${seconds(d.estimate.seconds)}`, `with up to ${bytes(d.estimate.peak_bytes)} of memory` + (d.estimate.spilled_bytes ? ` and ${bytes(d.estimate.spilled_bytes)} of disk` : ""));
	return [h("p", {}, h("b", {}, "The settings are good. "), facts.join(", ") + "."), d.warnings.map((w) => h("p", { class: "warning" }, w.detail)),
		d.reuse ? h("p", {}, h("a", { href: "#/jobs/" + d.reuse }, "The same work has been done already"), ": you get its results at once.") : null];
}

// from: a job whose inputs and settings are there to begin with.
export async function newJob(box, signal, from) {
	const [server, models, calibrations] = await Promise.all([get("/v1/server"), all("/v1/models"), all("/v1/calibrations")]);
	const fields = server.params.map(field), notes = h("div", { role: "status" }), name = h("input", { id: "job-name", autocomplete: "off", placeholder: "optional" });
	const go = h("button", { type: "submit", disabled: true }, "Start the job");
	// How pictures become arrays is a setting of the job, so that their fit is seen when that is there.
	const fit = (file) => (model.get() && !/\.zip$/i.test(file.name) ? { model: model.get().id } : {});
	const one = (more) => (files, tell) => upload("calibrations", files[0], more(files[0]), (n) => tell(files[0], n));
	const model = source("model", "Model", "ONNX, with its files of weights if it has some", models, describeModel, takeModel, changed);
	const data = source("calibration", "Calibration data", "npz, npy, safetensors, a tar of ONNX test sets, or a zip of pictures; a few hundred typical samples", calibrations, describeData, one(fit), changed);
	const test = source("evaluation", "Evaluation data", "Optional, to see the accuracy before and after; with an array of labels, “label”", [...calibrations], describeData, one(() => ({})), changed);

	function body() {
		const params = {};
		for (const f of fields) {
			const v = f.get();
			if (v !== undefined) params[f.t.name] = v;
		}
		if (test.get()) params.evaluate = { ...params.evaluate, calibration: test.get().id };
		return { model: model.get().id, calibration: data.get().id, params, ...(name.value.trim() ? { name: name.value.trim() } : {}) };
	}
	// What is wrong stands beside the setting that it is about; the rest above the button.
	function refuse(e) {
		const rest = (e.errors || []).filter((x) => {
			const f = fields.find((y) => (x.pointer || "").split("/")[2] === y.t.name && x.pointer.startsWith("/params/"));
			if (f) f.blame(x.detail);
			const fold = f && f.box.closest("details");
			if (fold) fold.open = true;
			return !f;
		});
		put(notes, problem(Object.assign(new Error(e.message), { errors: rest })));
	}
	let asked = 0;
	async function changed() {
		const ready = model.get() && data.get(), mine = ++asked;
		go.disabled = !ready;
		for (const f of fields) f.blame("");
		if (!ready) return put(notes, h("p", { class: "muted" }, "With a model and calibration data, the cost of the job is estimated here."));
		try {
			const d = await send("POST", "/v1/jobs?dry_run=true", body());
			if (mine === asked && !signal.aborted) put(notes, estimate(d));
		} catch (e) { if (mine === asked) refuse(e); }
		return null;
	}
	async function start(e) {
		e.preventDefault();
		go.disabled = true;
		try { location.hash = "#/jobs/" + (await send("POST", "/v1/jobs", body())).id; } catch (x) { refuse(x); }
		go.disabled = false;
	}
	const plain = fields.filter((f) => FIRST.includes(f.t.name)), more = fields.filter((f) => !FIRST.includes(f.t.name));
	put(box, h("h1", {}, "New job"), h("form", { onsubmit: start },
		h("div", { class: "two" }, model.box, data.box),
		h("section", { onchange: changed }, h("h2", {}, "Settings"), h("p", { class: "muted" }, "The defaults are sensible. Your model is not changed: you get a file of encodings, and models with them applied."),
			h("div", { class: "fields" }, h("div", { class: "field" }, h("label", { for: "job-name" }, "name"), name, h("span", { class: "hint" }, "to find the job again")), plain.map((f) => f.box)),
			h("details", {}, h("summary", {}, `Evaluation data, and all ${number(more.length)} other settings`), h("div", { class: "inner" }, test.box), h("div", { class: "fields" }, more.map((f) => f.box)))),
		h("div", { class: "card" }, notes, h("p", { class: "row" }, go))));
	if (from) {
		const j = await get("/v1/jobs/" + from, signal);
		for (const f of fields) if (f.t.name in j.params) f.set(f.t.name === "evaluate" ? withoutData(j.params.evaluate) : j.params[f.t.name]);
		name.value = j.name;
		test.set(j.params.evaluate?.calibration);
		model.set(j.model.id);
		data.set(j.calibration.id);
	}
	changed();
}

// The box of evaluation data has its part of the setting.
function withoutData(evaluate) {
	const rest = { ...evaluate };
	delete rest.calibration;
	return Object.keys(rest).length ? rest : null;
}
