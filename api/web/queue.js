// What runs, what waits, what has been done.

import { all, get, pause } from "./client.js";
import { ago, badge, h, number, percent, put, seconds, table, tile } from "./dom.js";

function progress(j) {
	if (j.status === "queued") return j.queue_position ? "number " + j.queue_position + " in the queue" : "in the queue";
	if (j.status === "running") return [h("progress", { max: 1, value: j.progress.fraction, "aria-label": "progress" }), h("div", { class: "muted" }, percent(j.progress.fraction) + (j.progress.eta_seconds ? ", about " + seconds(j.progress.eta_seconds) + " left" : ""))];
	if (j.status === "failed") return h("span", { class: "error" }, j.error?.code || "");
	return j.finished_at ? "took " + seconds(j.usage.wall_seconds) : "";
}

const jobs = (list, names) => table("The newest jobs", [
	{ title: "Job", name: true, show: (j) => h("a", { href: "#/jobs/" + j.id }, j.name || j.id) },
	{ title: "Model", name: true, show: (j) => names[j.model.id] || j.model.id },
	{ title: "Status", show: (j) => badge(j.status) },
	{ title: "Progress", show: progress },
	{ title: "Bits", n: true, show: (j) => j.params.param_bw },
	{ title: "Submitted", show: (j) => h("span", { class: "muted", title: j.created_at }, ago(j.created_at)) },
], list, true);

// The same by hand, for those who would rather type.
function curl() {
	const u = location.origin;
	return `curl -T model.onnx ${u}/v1/models\ncurl -T calib.npz "${u}/v1/calibrations?model=mdl_…"\ncurl --json '{"model": "mdl_…", "calibration": "cal_…"}' ${u}/v1/jobs`;
}

const empty = () => h("section", { class: "empty" }, h("h2", {}, "Nothing here yet"),
	h("p", {}, "Upload an ONNX model and some calibration data, and get an encodings file with the ranges that hurt the model least."),
	h("p", {}, h("a", { class: "button", href: "#/new" }, "Start the first job")),
	h("p", { class: "muted" }, "Or from a shell; each answer has the id that the next line needs:"),
	h("pre", { tabindex: 0 }, curl()));

export async function queue(box, signal) {
	let shown = "";
	while (!signal.aborted) {
		const [q, list, models] = await Promise.all([get("/v1/queue", signal), get("/v1/jobs?limit=50", signal), all("/v1/models")]);
		const now = JSON.stringify([q, list, models.length]);
		if (now !== shown) {
			const free = Math.max(q.workers - q.running, 0);
			put(box, h("div", { class: "row apart" }, h("h1", {}, "Queue"), list.data.length ? h("a", { class: "button", href: "#/new" }, "New job") : null),
				h("div", { class: "tiles" }, tile(`${q.running} / ${q.workers}`, q.workers === 1 ? "worker busy" : "workers busy"), tile(q.queued, q.queued || !free ? "waiting" : "waiting; the next job starts at once"), tile(number(models.length), models.length === 1 ? "model" : "models")),
				list.data.length ? h("section", {}, h("h2", {}, "Jobs"), jobs(list.data, Object.fromEntries(models.map((m) => [m.id, m.name]))), list.has_more ? h("p", { class: "muted" }, "The 50 newest are shown.") : null) : empty());
			shown = now;
		}
		await pause(q.running ? 1500 : 4000, signal);
	}
}
