import type { Percentiles } from "@tallymq/testkit/ledger";
import type { DemoReport } from "../judge.ts";
import { chart } from "./chart.ts";
import { escape, tag } from "./markup.ts";
import { STYLE } from "./style.ts";
import type { Recovery, TimelineFault } from "./timeline.ts";
import { type Figure, faultName, figuresOf, inFlight, number, recovered, seconds, slowest } from "./words.ts";

const MOST_REASONS = 12;

/** One file with everything in it: no script, no font, no image; a browser that is offline shows the same. */
export function page(report: DemoReport): string {
  const { settings, figures, timeline } = report;
  const policy = "default-src 'none'; style-src 'unsafe-inline'";
  const head = [
    `<meta charset="utf-8">`,
    `<meta name="viewport" content="width=device-width, initial-scale=1">`,
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    tag("title", {}, [escape(`${figures.verdict}: ${settings.client} on ${settings.broker}`)]),
    tag("style", {}, [STYLE]),
  ];
  const body = [
    header(report),
    tag(
      "dl",
      { class: "figures" },
      figuresOf(report).map((figure) => card(figure, settings.messages)),
    ),
    tag("h2", {}, ["Timeline"]),
    chart(timeline),
    tag("h2", {}, ["Faults"]),
    faults(timeline.faults),
    tag("h2", {}, ["How to read it"]),
    notes(report),
    tag("footer", {}, [escape(footer(report))]),
  ];
  return `<!doctype html>\n<html lang="en">\n<head>${head.join("\n")}</head>\n<body><main>\n${body.join("\n")}\n</main></body>\n</html>\n`;
}

function header(report: DemoReport): string {
  const { figures, settings, reasons, brokerTitle } = report;
  const shown = reasons.slice(0, MOST_REASONS);
  if (reasons.length > shown.length) shown.push(`and ${reasons.length - shown.length} more`);
  const list = shown.map((reason) => tag("li", {}, [escape(reason)]));
  return tag("header", {}, [
    tag("p", { class: "what" }, [
      escape(`${number(settings.messages)} messages by ${settings.client} · ${brokerTitle}`),
    ]),
    tag("h1", {}, [escape(headline(report)), tag("span", { class: `verdict ${figures.verdict}` }, [figures.verdict])]),
    ...(list.length === 0 ? [] : [tag("ul", { class: `reasons ${figures.verdict}` }, list)]),
  ]);
}

function headline({ figures, timeline }: DemoReport): string {
  const under = `under ${timeline.faults.length} faults`;
  switch (figures.verdict) {
    case "VALID":
      return `It comes out even ${under}`;
    case "INVALID":
      return figures.lost > 0
        ? `${number(figures.lost)} accepted messages were lost ${under}`
        : `It does not come out even ${under}`;
    case "UNKNOWN":
      return "This run proves nothing";
  }
}

function card({ name, value, must, good }: Figure, messages: number): string {
  const rule = { all: `of ${number(messages)}`, none: "must be 0", some: "must be more than 0", none_asked: "" }[
    must ?? "none_asked"
  ];
  return tag("div", good ? {} : { class: "bad" }, [
    tag("dt", {}, [escape(name)]),
    tag("dd", {}, [escape(number(value)), tag("small", {}, [escape(rule) || "&nbsp;"])]),
  ]);
}

function faults(all: readonly TimelineFault[]): string {
  if (all.length === 0) return tag("p", { class: "soft" }, ["None was fired."]);
  const names = ["fault", "at", "in flight then", "lasted", "accepts again", "effects again"];
  const rows = all.map((fault, n) => {
    const cells = [
      `${tag("b", {}, [String(n + 1)])}${escape(faultName(fault))}`,
      escape(seconds(fault.from)),
      `<span>${escape(number(fault.inFlight))}${tag("small", {}, [escape(inFlight(fault))])}</span>`,
      escape(seconds(fault.until - fault.from)),
      again(fault.accepts),
      again(fault.effects),
    ];
    return tag(
      "tr",
      {},
      cells.map((cell, at) => tag("td", { "data-name": names[at]! }, [cell])),
    );
  });
  const head = tag("thead", {}, [
    tag(
      "tr",
      {},
      names.map((name) => tag("th", { scope: "col" }, [escape(name)])),
    ),
  ]);
  return tag("div", { class: "scroll" }, [tag("table", {}, [head, tag("tbody", {}, rows)])]);
}

function again(recovery: Recovery): string {
  const last = slowest(recovery);
  return `<span>${escape(recovered(recovery))}${last === "" ? "" : tag("small", {}, [escape(last)])}</span>`;
}

function notes({ settings }: DemoReport): string {
  const answer =
    settings.client === "tally"
      ? "A message is accepted when publish() has resolved, which is after the broker confirmed it, or after its row was synced to the outbox's file."
      : "A message is accepted when sendToQueue() has returned: plain amqplib has no answer from the broker to wait for.";
  const texts = [
    `${answer} It is lost if it was accepted and nobody billed it: bills are counted in the consumers' database and what is left in the broker's queues and the outbox, never by what a publisher believes.`,
    ...(settings.client === "tally"
      ? [
          "A bill and the inbox's mark that it was made are one transaction; the table of bills has no uniqueness of its own, so that billing twice would leave two rows. A publisher that was killed is started again and publishes, with the same ids, whatever its own ledger does not show as accepted. While the broker is away messages are spilled: stored in a file that the publishers share, and sent later by the one of them that holds its lease; that one is killed as well.",
        ]
      : []),
    "Duplicate deliveries and resends are how a message survives a fault; they are harmless as long as no duplicate effect follows. A run without any is refused, because then the faults hit nothing.",
    "Killed means kill -9: no process gets to say good-bye. In the chart the darker band is the time that a fault lasted, and the lighter one the time from its end until effects came again.",
  ];
  return tag(
    "div",
    { class: "notes" },
    texts.map((text) => tag("p", {}, [escape(text)])),
  );
}

function footer({ settings, figures, ledger }: DemoReport): string {
  const parts = [
    `seed ${settings.seed}`,
    `${figures.seconds.toFixed(1)} s`,
    `3 publishers, 3 consumers, ${number(ledger.totals.files)} ledgers with ${number(ledger.totals.lines)} lines`,
    percentiles("publish() to its answer", ledger.latency.publish),
    percentiles("publish() to the effect", ledger.latency.effect),
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

function percentiles(what: string, found: Percentiles | null): string {
  return found === null
    ? ""
    : `${what}: half within ${milliseconds(found.p50)}, 99 % within ${milliseconds(found.p99)}, longest ${milliseconds(found.max)}`;
}

function milliseconds(ms: number): string {
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
