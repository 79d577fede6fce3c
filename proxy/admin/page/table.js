// The table of services: filtered, sorted, grouped; only the rows in view are in the document.

import { view, writeAddress } from './address.js'
import { data, keyOf, lostClusters } from './data.js'
import { Detail } from './detail.js'
import { $, count, fill, give, make, role } from './elements.js'
import { columnClusters, headCells, rowText, serviceRow } from './rows.js'

const badness = { unreachable: 0, reduced: 1, empty: 2, ok: 3, none: 4 }
const overscan = 8
const groupHeight = 34
/** Shown rows by key: `{ text, element }`. */
const placed = new Map()
/** From top to bottom: `{ key, kind, top, height, row? }`. */
let items = []
let detail
let detailHeight = 320
let heads = ''

const order = {
  state: (a, b) => badness[a.condition.state] - badness[b.condition.state],
  traffic: (a, b) => rate(b, 'perSecond') - rate(a, 'perSecond'),
  failed: (a, b) => rate(b, 'failed') - rate(a, 'failed'),
  dial: (a, b) => rate(b, 'dialP99') - rate(a, 'dialP99'),
  name: () => 0,
}

function rate(row, name) {
  return data.traffic.get(keyOf(row))?.[name] ?? -1
}

const grower = new ResizeObserver(([entry]) => {
  const height = Math.ceil(entry.borderBoxSize[0].blockSize)
  if (height === detailHeight || height === 0) return
  detailHeight = height
  layOut()
  place()
})

export function drawTable() {
  if (!data.status) return
  const names = columnClusters()
  $('table').style.setProperty('--places', names?.length ?? 1)
  $('table').style.setProperty('--place', names ? '5.2rem' : '22rem')
  $('table').classList.toggle('crowded', data.status.clusters.length > 3)
  if (JSON.stringify(names) !== heads) {
    heads = JSON.stringify(names)
    fill('heads', ...headCells())
  }
  followOpen()
  layOut()
  place()
}

/** The detail of the open service: one at a time, since each follows a stream. */
function followOpen() {
  const wanted = data.rows.has(view.open) ? view.open : undefined
  if (detail?.key === wanted) return void detail?.refresh()
  detail?.close()
  detail?.element.remove()
  grower.disconnect()
  detail = wanted === undefined ? undefined : new Detail(wanted)
  if (detail) grower.observe(detail.element)
}

export function pauseDetail(isPaused) {
  if (isPaused) detail?.close()
  else detail?.follow()
}

function fits(row, word) {
  if (view.state === 'lost') {
    if (!lostClusters().some(name => name in row.clusters)) return false
  } else if (view.state !== '' && row.condition.state !== view.state) return false
  return (
    word === '' ||
    [keyOf(row), ...Object.keys(row.clusters), ...row.addresses, ...row.frontends.map(f => f.ip)].some(text =>
      text.toLowerCase().includes(word),
    )
  )
}

/** Which rows there are, and where. */
function layOut() {
  const word = view.find.trim().toLowerCase()
  const fitting = [...data.rows.values()].filter(row => keyOf(row) === view.open || fits(row, word))
  const by = order[view.sort] ?? order.state
  const name = (a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)
  fitting.sort((a, b) => by(a, b) || rate(b, 'perSecond') - rate(a, 'perSecond') || name(a, b))
  const groups = view.group ? Map.groupBy(fitting, ({ namespace }) => namespace) : new Map([['', fitting]])
  const height = Number.parseFloat(getComputedStyle($('rows')).getPropertyValue('--row'))
  items = []
  let top = 0
  const push = (item, itemHeight) => {
    items.push({ ...item, top, height: itemHeight })
    top += itemHeight
  }
  for (const [namespace, rows] of groups) {
    if (view.group) push({ kind: 'group', key: `group ${namespace}`, namespace, rows }, groupHeight)
    for (const row of rows) {
      push({ kind: 'row', key: keyOf(row), row }, height)
      if (detail?.key === keyOf(row)) push({ kind: 'detail', key: 'detail' }, detailHeight)
    }
  }
  $('rows').style.height = `${top}px`
  $('table').ariaRowCount = items.length + 1
  const all = data.rows.size
  const shown = fitting.length === all ? '' : `${fitting.length.toLocaleString('en')} of `
  const missing = view.open === '' || data.rows.has(view.open) ? '' : `; there is no ${view.open}`
  fill('shown', `${shown}${count(all, 'service')}${missing}`)
  $('none').hidden = fitting.length > 0
  $('table').hidden = all === 0
  fill('none', all === 0 ? 'There are no services yet.' : 'No service matches. Press Escape to see all.')
  for (const option of $('state').options) option.selected = option.value === view.state
}

/** Puts the rows in view into the document, and takes the others out. The one with the focus stays. */
export function place() {
  const above = -$('rows').getBoundingClientRect().top
  const rowHeight = items[0]?.height ?? 40
  const [from, to] = [above - overscan * rowHeight, above + innerHeight + overscan * rowHeight]
  const focused = document.activeElement?.dataset?.key
  const visible = items.slice(firstBelow(from), firstBelow(to) + 1)
  const kept = focused && items.find(({ key }) => key === focused)
  if (kept && !visible.includes(kept)) visible.push(kept)
  const keys = new Set(visible.map(({ key }) => key))
  for (const [key, { element }] of placed) {
    if (keys.has(key)) continue
    element.remove()
    placed.delete(key)
  }
  for (const item of visible) {
    const text = textOf(item)
    const known = placed.get(item.key)
    const element = known?.text === text ? known.element : build(item)
    element.style.top = `${item.top}px`
    element.ariaRowIndex = items.indexOf(item) + 2
    placed.set(item.key, { text, element })
    if (known && known.element !== element) {
      const hadFocus = known.element.contains(document.activeElement)
      known.element.replaceWith(element)
      if (hadFocus) element.querySelector('button')?.focus({ preventScroll: true })
    } else if (!known) insert(element, item.top)
  }
}

/** The first item whose end is below an offset. */
function firstBelow(offset) {
  let [low, high] = [0, items.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (items[middle].top + items[middle].height > offset) high = middle
    else low = middle + 1
  }
  return low
}

/** In the order of the page, which is the order of the tab key. */
function insert(element, top) {
  const next = [...$('rows').children].find(other => Number.parseFloat(other.style.top) > top)
  $('rows').insertBefore(element, next ?? null)
}

function textOf({ kind, row, namespace, rows, key }) {
  if (kind === 'detail') return `detail ${detail.key}`
  if (kind === 'group') return `${namespace} ${rows.length} ${troubled(rows)}`
  return rowText(row, data.traffic.get(key), view.open === key)
}

function troubled(rows) {
  return rows.filter(({ condition }) => badness[condition.state] < badness.ok).length
}

function build({ kind, row, namespace, rows, key }) {
  if (kind === 'detail') return role('row', make('div.panel', role('cell', make('div', detail.element))))
  if (kind === 'group') {
    const bad = troubled(rows)
    return role(
      'row',
      make(
        'div.group',
        role('rowheader', make('span', make('b', namespace), ` ${count(rows.length, 'service')}`)),
        bad > 0 ? make('span.warn', `${bad} in trouble`) : '',
      ),
    )
  }
  return serviceRow(row, key, view.open === key, () => toggle(key))
}

export function toggle(key) {
  view.open = view.open === key ? '' : key
  writeAddress()
  drawTable()
}

/** Arrow keys, Home and End go from row to row. */
export function moveFocus(event) {
  const rows = items.filter(({ kind }) => kind === 'row')
  const at = rows.findIndex(({ key }) => key === document.activeElement?.dataset?.key)
  if (at < 0) return
  const targets = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }
  const target = rows[targets[event.key]]
  if (!target) return
  event.preventDefault()
  const offset = $('rows').getBoundingClientRect().top + target.top
  const head = $('heads').offsetHeight
  if (offset < head) scrollBy(0, offset - head - 4)
  else if (offset + target.height > innerHeight) scrollBy(0, offset + target.height - innerHeight + 4)
  place()
  placed.get(target.key)?.element.querySelector('button').focus({ preventScroll: true })
}

/** Brings the open row and the beginning of its panel into view, for those who come by an address that names it. */
export function showOpen() {
  const row = items.find(({ key }) => key === view.open)
  if (!row) return
  const offset = $('rows').getBoundingClientRect().top + row.top
  const head = $('heads').offsetHeight
  const isInView = offset >= head && offset + row.height + Math.min(detailHeight, innerHeight / 2) <= innerHeight
  if (!isInView) scrollBy(0, offset - head - 4)
  place()
}

export function changeView(change) {
  Object.assign(view, change)
  writeAddress()
  drawTable()
}

export function fillControls() {
  give($('find'), { value: view.find })
  give($('sort'), { value: view.sort })
  give($('group'), { checked: view.group !== '' })
}
