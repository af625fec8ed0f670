// Which page is shown: the part of the address behind "#".

import { get, key } from "./client.js";
import { h, problem, put } from "./dom.js";
import { compare } from "./compare.js";
import { job } from "./job.js";
import { newJob } from "./new_job.js";
import { queue } from "./queue.js";

const pages = [
	[/^#?\/?$/, "Queue", queue],
	[/^#\/new(?:\/([\w-]+))?$/, "New job", newJob],
	[/^#\/jobs\/([\w-]+)$/, "Job", job],
	[/^#\/compare(?:\/([\w-]+))?(?:\/([\w-]+))?$/, "Compare", compare],
];

let stop = new AbortController();

async function show() {
	const main = document.getElementById("main"), where = location.hash || "#/";
	stop.abort();
	stop = new AbortController();
	const signal = stop.signal;
	const [, title, page] = pages.find(([pattern]) => pattern.test(where)) || [null, "Not found", (box) => put(box, h("p", {}, "There is no such page."))];
	const args = (pages.find(([pattern]) => pattern.test(where)) || [/^/])[0].exec(where).slice(1);
	document.title = title + " – seqmsed";
	for (const a of document.querySelectorAll("nav a")) {
		if (a.getAttribute("href") === where || (where.startsWith("#/new/") && a.hash === "#/new") || (where.startsWith("#/compare") && a.hash === "#/compare")) a.setAttribute("aria-current", "page");
		else a.removeAttribute("aria-current");
	}
	const box = h("div");
	put(main, box);
	try { await page(box, signal, ...args); }
	catch (e) {
		if (signal.aborted) return;
		put(box, problem(e));
		if (e.status === 401) askForKey();
	}
}

function askForKey() {
	const input = h("input", { type: "password", id: "key-input", autocomplete: "off", spellcheck: "false", value: key.get() });
	const dialog = h("dialog", { "aria-labelledby": "key-title" }, h("form", { method: "dialog", onsubmit: () => { key.set(input.value.trim()); show(); } },
		h("h2", { id: "key-title" }, "Access key"),
		h("label", { for: "key-input" }, "Key", h("p", { class: "hint" }, "The administrator makes one with “seqmsed key add”. It stays in this tab and is forgotten when you close it.")), input,
		h("p", { class: "row" }, h("button", {}, "Use it"), h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"))));
	dialog.addEventListener("close", () => dialog.remove());
	document.body.append(dialog);
	dialog.showModal();
}

async function about() {
	try {
		const x = await get("/v1/server");
		document.getElementById("about").textContent = `seqmsed ${x.version}, ONNX Runtime ${x.onnxruntime || "not found"}, ${x.cpus} processors`;
	} catch { /* the page itself says what is wrong */ }
}

document.getElementById("key").addEventListener("click", askForKey);
addEventListener("hashchange", () => { show(); document.getElementById("main").focus(); });
show();
about();
