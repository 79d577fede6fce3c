// Builders of elements and texts. All text is inserted as text, never as markup.

export const $ = id => document.getElementById(id)

/** `make('li.card.small', …)`: an element with its classes and children. */
export function make(what, ...children) {
  const [tag, ...classes] = what.split('.')
  const element = give(document.createElement(tag), { className: classes.join(' ') })
  element.append(...children)
  return element
}

export function give(element, properties) {
  return Object.assign(element, properties)
}

export function fill(id, ...children) {
  $(id).replaceChildren(...children)
}

export function role(name, element) {
  return give(element, { role: name })
}

export function svg(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  return element
}

export function pill(text, kind) {
  return make(`span.pill.${kind}`, text)
}

export function count(n, noun) {
  return `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`
}

/** `12s`, `3m 20s`, `2h 5m`, `4d 1h`. */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 60) return `${s}s`
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`
  if (s < 86_400) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`
  return `${Math.floor(s / 86_400)}d ${Math.floor((s % 86_400) / 3600)}h`
}

/** `0.4`, `8`, `12`, `1.2k` */
export function amount(n) {
  if (n >= 10_000) return `${Math.round(n / 1000)}k`
  if (n >= 1000) return `${(n / 1000).toFixed(1)}k`
  return n >= 10 || Number.isInteger(n) ? `${Math.round(n)}` : n < 0.1 ? '<0.1' : n.toFixed(1)
}

/** `0%`, `0.4%`, `37%` */
export function percent(part) {
  return part > 0 && part < 0.001 ? '<0.1%' : `${(100 * part).toFixed(part > 0 && part < 0.1 ? 1 : 0)}%`
}

/** `0.25 ms`, `12 ms`, `1.2 s` */
export function duration(ms) {
  if (ms === undefined) return ''
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${ms >= 10 ? Math.round(ms) : Number(ms.toPrecision(2))} ms`
}

export function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const at = n < 1000 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), units.length - 1)
  return `${Number((n / 1000 ** at).toPrecision(3))} ${units[at]}`
}

export function hostText(address) {
  return address.includes(':') ? `[${address}]` : address
}
