// The daemon's API. The key, where one is needed, lives in this tab only, and travels in a header, never in an address.

const KEY = "seqmsed-key";

export const key = {
	get: () => sessionStorage.getItem(KEY) || "",
	set: (v) => (v ? sessionStorage.setItem(KEY, v) : sessionStorage.removeItem(KEY)),
};

export class Problem extends Error {
	constructor(status, p) {
		super(p.detail || p.title || "the daemon answered " + status);
		this.status = status;
		this.code = p.code || "";
		this.errors = p.errors || [];
	}
}

const headers = (more) => ({ ...(key.get() ? { Authorization: "Bearer " + key.get() } : {}), ...more });

async function refuse(r) {
	let p = {};
	try { p = await r.json(); } catch { /* not JSON: the status has to do */ }
	throw new Problem(r.status, p);
}

async function ask(path, options = {}) {
	let r;
	try { r = await fetch(path, { ...options, headers: headers(options.headers) }); }
	catch (e) {
		if (e.name === "AbortError") throw e;
		throw new Problem(0, { detail: "The daemon cannot be reached." });
	}
	return r.ok ? r : refuse(r);
}

export async function get(path, signal) { return (await ask(path, { signal })).json(); }

export async function send(method, path, body) {
	const r = await ask(path, { method, body: body === undefined ? undefined : JSON.stringify(body), headers: body === undefined ? {} : { "Content-Type": "application/json" } });
	return r.status === 204 ? null : r.json();
}

// Everything of a list, page by page.
export async function all(path, most = 2000) {
	const out = [];
	for (let after = ""; ;) {
		const page = await get(path + (path.includes("?") ? "&" : "?") + "limit=500" + (after ? "&after=" + after : ""));
		out.push(...page.data);
		if (!page.has_more || out.length >= most) return out;
		after = page.next;
	}
}

export const pause = (ms, signal) => new Promise((r) => {
	const t = setTimeout(r, ms);
	if (signal) signal.addEventListener("abort", () => { clearTimeout(t); r(); });
});

// fetch tells nothing of an upload's progress; XMLHttpRequest does.
function push(method, path, body, more, progress) {
	return new Promise((good, bad) => {
		const x = new XMLHttpRequest();
		x.open(method, path);
		for (const [k, v] of Object.entries(headers(more))) x.setRequestHeader(k, v);
		x.upload.onprogress = (e) => progress(e.loaded);
		x.onload = () => {
			let p = {};
			if (x.status >= 200 && x.status < 300) return good(x);
			try { p = JSON.parse(x.responseText); } catch { /* not JSON: the status has to do */ }
			return bad(new Problem(x.status, p));
		};
		x.onerror = () => bad(new Problem(0, { detail: "The connection was lost during the upload." }));
		x.send(body);
	});
}

const TUS = { "Tus-Resumable": "1.0.0" }, PIECE = 8 << 20, TRIES = 6;
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

// Where a broken upload goes on. A daemon that is away is asked again for a while.
async function offset(where) {
	for (let tries = 1; ; tries++) {
		try { return Number((await ask(where, { method: "HEAD", headers: TUS })).headers.get("Upload-Offset")); } catch (e) {
			if (tries === TRIES || e.status) throw e;
			await pause(500 * tries);
		}
	}
}

// A model or calibration set in pieces (tus 1.0.0), so that a broken connection costs one piece. progress gets the bytes that are there.
// Gives back the object that it became.
export async function upload(kind, file, more, progress) {
	if (!file.size) throw new Problem(0, { detail: file.name + " is empty." });
	const meta = Object.entries({ kind, name: file.name.slice(0, 150), ...more }).map(([k, v]) => k + " " + base64(v)).join(",");
	const made = await ask("/v1/uploads", { method: "POST", headers: { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": meta } });
	const where = made.headers.get("Location");
	for (let at = 0, broken = 0; at < file.size;) {
		const piece = file.slice(at, at + PIECE);
		try {
			await push("PATCH", where, piece, { ...TUS, "Upload-Offset": String(at), "Content-Type": "application/offset+octet-stream" }, (n) => progress(at + n));
			at += piece.size;
			broken = 0;
		} catch (e) {
			if ((e.status && !["locked", "offset-mismatch"].includes(e.code)) || ++broken === TRIES) throw e;
			await pause(500 * broken);
			at = await offset(where);
		}
	}
	return get((await get(where)).result);
}

// A file beside a model, under the name that the model knows it by. Gives back the model.
export async function uploadPart(model, name, file, progress) {
	const path = `/v1/models/${model}/files/${name.split("/").map(encodeURIComponent).join("/")}`;
	return JSON.parse((await push("PUT", path, file, { "Content-Type": "application/octet-stream" }, progress)).responseText);
}

// Lets the browser fetch a file by itself, to the disk or (show) into a tab. It cannot send the key, so a ticket, good for once, stands in for it.
export async function download(path, name, show = false) {
	const { url } = await send("POST", "/v1/tickets", { url: path });
	const a = document.createElement("a");
	a.href = url;
	a.rel = "noopener";
	if (show) a.target = "_blank";
	else a.download = name;
	a.click();
}

// A job's events as they come. Reconnects where it left off; ends when the job has ended or the signal aborts.
export async function* events(id, signal) {
	for (let last = ""; !signal.aborted;) {
		const r = await ask("/v1/jobs/" + id + "/events", { signal, headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) } });
		if (!(r.headers.get("Content-Type") || "").startsWith("text/event-stream")) return;
		const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
		for (let text = ""; ;) {
			const { value, done } = await reader.read();
			if (done) break;
			text += value;
			for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
				const event = {};
				for (const line of text.slice(0, end).split("\n")) {
					const at = line.indexOf(":");
					if (at > 0) event[line.slice(0, at)] = line.slice(at + 1).trimStart();
				}
				if (event.id) last = event.id;
				if (event.event) yield event;
			}
		}
		await pause(1000, signal);
	}
}
