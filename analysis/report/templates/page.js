"use strict";
// The page can be read without this script. It adds: tables that sort, filter and are saved as CSV;
// the sentence of a heat map's cell for touch and keyboard; a hint where something is wider than the
// page; the reload of a page of a running study.
(() => {
  const collator = new Intl.Collator(undefined, { numeric: true });
  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  // A private window, or a browser that keeps nothing of files, has no storage.
  const kept = {
    key: (name) => `archprior ${location.pathname} ${name}`,
    get(name) { try { return JSON.parse(sessionStorage.getItem(this.key(name))); } catch { return null; } },
    set(name, value) { try { sessionStorage.setItem(this.key(name), JSON.stringify(value)); } catch { /* not kept */ } },
  };

  const exact = (cell) => cell.dataset.v ?? null;
  const shown = (cell) => {
    const parts = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL" && node.nodeName !== "B");
    return parts.map((node) => node.textContent).join(" ").replace(/\s+/g, " ").trim();
  };
  const compare = (a, b) => {
    const [x, y] = [exact(a), exact(b)];
    if (x !== null && y !== null) return Number(x) - Number(y);
    return collator.compare(a.textContent.trim(), b.textContent.trim());
  };
  // Cells without a value stand last, whichever way the others are sorted.
  const absent = (cell) => ["", "–"].includes(cell.textContent.trim());

  function sort(table, index, descending) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      if (at === index) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const rows = [...table.tBodies[0].rows];
    rows.sort((first, second) => {
      const [a, b] = [first.cells[index], second.cells[index]];
      if (absent(a) || absent(b)) return Number(absent(a)) - Number(absent(b));
      return descending ? compare(b, a) : compare(a, b);
    });
    table.tBodies[0].append(...rows);
  }

  function filter(table, words, status) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
      left += row.hidden ? 0 : 1;
    }
    status.textContent = wanted.length ? `${left} of ${table.tBodies[0].rows.length} rows` : "";
  }

  // A name that begins like a formula is text to a spreadsheet only behind an apostrophe.
  const safe = (text) => (/^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text);
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  function csv(table) {
    const rows = [...table.rows].filter((row) => !row.hidden);
    const line = (row) => [...row.cells].flatMap((cell) => {
      const small = cell.matches("th[scope=row]") ? cell.querySelector("small") : null;
      // The number of an interval is that of its lower limit, to sort by.
      const words = shown(cell);
      const saved = words.startsWith("[") ? words : exact(cell) ?? safe(words);
      const text = `${saved}${small ? ` ${small.textContent}` : ""}`;
      return [quoted(text === "–" ? "" : text)];
    }).join(",");
    return rows.map(line).join("\r\n") + "\r\n";
  }
  function save(table) {
    const file = new Blob(["\ufeff", csv(table)], { type: "text/csv" });
    const link = make("a", { download: `${table.dataset.file}.csv`, href: URL.createObjectURL(file) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function addTools(table, number) {
    const box = table.closest(".box");
    const label = table.closest(".frame").querySelector(".caption strong").textContent;
    const tools = make("div", { class: "tools" });
    const status = make("span", { role: "status" });
    if (table.tBodies[0].rows.length > 4) {
      const input = make("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows of ${label}` });
      input.addEventListener("input", () => {
        filter(table, input.value, status);
        kept.set(`filter ${number}`, input.value);
      });
      tools.append(input);
      const words = kept.get(`filter ${number}`);
      if (document.documentElement.dataset.refresh && words) {
        input.value = words;
        filter(table, words, status);
      }
    }
    const button = make("button", { type: "button", "aria-label": `Save ${label} as CSV` }, "Save CSV");
    button.addEventListener("click", () => save(table));
    tools.append(button, status);
    box.before(tools);
  }

  function addSorting(table, number) {
    if (table.tBodies[0].rows.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const button = make("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // The greatest of numbers first, texts from A.
        const numeric = [...table.tBodies[0].rows].some((row) => exact(row.cells[index]) !== null);
        const now = head.getAttribute("aria-sort");
        const descending = now ? now === "ascending" : numeric;
        sort(table, index, descending);
        kept.set(`sort ${number}`, [index, descending]);
      });
    });
    const before = kept.get(`sort ${number}`);
    if (document.documentElement.dataset.refresh && before) sort(table, ...before);
  }

  // Titles of cells are seen under a mouse alone: here also on touch, and by arrow keys.
  function addDetail(table) {
    const cells = () => [...table.tBodies[0].rows].filter((row) => !row.hidden)
      .map((row) => [...row.cells].filter((cell) => cell.tagName === "TD"));
    const first = cells()[0]?.[0];
    if (!first) return;
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
    const detail = make("p", { class: "detail", role: "status" });
    table.closest(".box").after(detail);
    first.tabIndex = 0;
    const show = (cell) => {
      const name = cell.parentElement.cells[0].textContent.replace(/\s+/g, " ").trim();
      detail.textContent = `${name}, ${heads[cell.cellIndex]}: ${cell.title || cell.textContent.trim()}`;
    };
    table.addEventListener("focusin", (event) => { if (event.target.tagName === "TD") show(event.target); });
    table.addEventListener("click", (event) => {
      const cell = event.target.closest("td");
      if (cell) focus(cell);
    });
    function focus(cell) {
      for (const other of table.querySelectorAll("td[tabindex]")) other.removeAttribute("tabindex");
      cell.tabIndex = 0;
      cell.focus();
    }
    table.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      const cell = event.target.closest("td");
      if (!step || !cell) return;
      const rows = cells();
      const at = rows.findIndex((row) => row.includes(cell));
      const next = rows[at + step[0]]?.[rows[at].indexOf(cell) + step[1]];
      if (next) { event.preventDefault(); focus(next); }
    });
  }

  [...document.querySelectorAll("table")].forEach((table, number) => {
    if (!table.classList.contains("quiet-map")) {
      addSorting(table, number);
      addTools(table, number);
    }
    if (table.classList.contains("map")) addDetail(table);
  });

  // Scroll bars of many systems are not seen until somebody scrolls.
  function addScrollHint(box) {
    const hint = make("p", { class: "scrolls", "aria-hidden": "true" });
    box.after(hint);
    const look = () => {
      const hidden = box.scrollWidth - box.clientWidth;
      const left = hidden > 1 && box.scrollLeft > 1;
      const right = hidden > 1 && box.scrollLeft < hidden - 1;
      box.toggleAttribute("data-more", left || right);
      if (left || right) box.dataset.more = left && right ? "both" : left ? "left" : "right";
      hint.hidden = hidden <= 1;
      hint.textContent = right ? "scroll sideways for more →" : "← scrolled to the end";
    };
    box.addEventListener("scroll", look, { passive: true });
    new ResizeObserver(look).observe(box);
    look();
  }
  document.querySelectorAll(".box").forEach(addScrollHint);

  // On a small screen the contents begin folded, so that the verdicts come first.
  const contents = document.querySelector(".contents details");
  if (contents && matchMedia("(max-width: 63.99rem)").matches) contents.open = false;
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  const { refresh, written } = document.documentElement.dataset;
  if (refresh) {
    const stale = document.querySelector(".stale");
    const look = () => {
      const seconds = (Date.now() - Number(written)) / 1000;
      if (seconds > Math.max(60, 6 * refresh)) {
        stale.hidden = false;
        stale.querySelector("span").textContent = seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds / 3600)} hours`;
      }
    };
    look();
    // Not while somebody types or selects.
    const reload = () => {
      const busy = document.activeElement?.matches("input") || String(getSelection());
      if (busy) setTimeout(reload, 1000);
      else location.reload();
    };
    setTimeout(reload, 1000 * refresh);
  }
})();
