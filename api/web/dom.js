// Elements out of values. Texts come from models that anyone may have uploaded: they only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

function fill(e, props, children) {
	for (const [k, v] of Object.entries(props || {})) {
		if (v === undefined || v === null || v === false) continue;
		if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
		else if (v === true) e.setAttribute(k, "");
		else e.setAttribute(k, v);
	}
	for (const c of children.flat(Infinity)) if (c !== undefined && c !== null && c !== false) e.append(c);
	return e;
}

// What is in e is replaced by the children that there are.
export const put = (e, ...children) => { e.replaceChildren(); return fill(e, {}, children); };

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export function say(text) {
	const live = document.getElementById("live");
	const p = h("p", {}, text);
	live.replaceChildren(p);
	setTimeout(() => p.remove(), 6000);
}

export function problem(e) {
	return h("div", { class: "problem error", role: "alert" }, h("p", {}, e.message),
		(e.errors || []).map((x) => h("p", { class: "mono" }, (x.pointer || x.parameter || "") + ": " + x.detail)));
}

export const badge = (status) => h("span", { class: "badge " + status }, status);
export const number = (x, digits = 3) => (x === null || x === undefined ? "–" : Number(x).toLocaleString("en", { maximumSignificantDigits: digits }));
export const percent = (x) => (x === null || x === undefined ? "–" : (100 * x).toFixed(Math.abs(x) < 0.1 ? 1 : 0) + " %");

export function bytes(n) {
	const units = ["B", "KB", "MB", "GB", "TB"];
	let i = 0;
	for (; n >= 1000 && i < 4; i++) n /= 1000;
	return number(n) + " " + units[i];
}

export function seconds(t) {
	if (t === null || t === undefined) return "–";
	if (t < 1) return Math.round(t * 1000) + " ms";
	if (t < 90) return number(t, 2) + " s";
	return t < 5400 ? Math.round(t / 60) + " min" : number(t / 3600, 2) + " h";
}

export function ago(when) {
	const t = (Date.now() - Date.parse(when)) / 1000;
	return t < 5 ? "just now" : seconds(t) + " ago";
}

export const tile = (value, what) => h("div", { class: "tile" }, h("b", {}, String(value)), h("span", {}, what));

// Wide things scroll by themselves, with the keyboard, too.
export const scroll = (label, ...inside) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, ...inside);

// A table of what columns show of rows. columns: [{ title, show: row => …, n: numeric, name: long }].
export function table(caption, columns, rows, hidden = false) {
	return scroll(caption, h("table", {}, h("caption", { class: hidden ? "hidden" : "muted" }, caption),
		h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.n ? "n" : null }, c.title)))),
		h("tbody", {}, rows.map((r) => h("tr", {}, columns.map((c) => h("td", { class: c.n ? "n" : c.name ? "name" : null }, c.show(r))))))));
}

// The same, sorted by the column whose head is pressed: each has value: row => … . What update(caption, rows) is given takes the rows' place; the order
// that was chosen stays.
export function sortable(columns, by = 0, down = false) {
	const body = h("tbody"), caption = h("caption", { class: "muted" });
	let rows = [];
	const draw = () => {
		const value = columns[by].value, empty = (x) => x === null || x === undefined || Number.isNaN(x);
		const sorted = [...rows].sort((a, b) => {
			const x = value(a), y = value(b);
			if (empty(x) || empty(y)) return empty(x) - empty(y);
			return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
		});
		body.replaceChildren(...sorted.map((r) => h("tr", {}, columns.map((c) => h("td", { class: c.n ? "n" : c.name ? "name" : null }, c.show(r))))));
		heads.forEach((th, i) => (i === by ? th.setAttribute("aria-sort", down ? "descending" : "ascending") : th.removeAttribute("aria-sort")));
	};
	const heads = columns.map((c, i) => h("th", { scope: "col", class: c.n ? "n" : null },
		h("button", { type: "button", onclick: () => { down = by === i ? !down : !!c.n; by = i; draw(); } }, c.title)));
	const box = scroll("", h("table", {}, caption, h("thead", {}, h("tr", {}, heads)), body));
	return { box, update(text, now) {
		rows = now;
		put(caption, text);
		box.setAttribute("aria-label", text);
		draw();
	} };
}
