// The header, the verdict with its filters, the problems, the components; the title and the icon of the page.

import { view, writeAddress } from './address.js'
import { data, lostClusters } from './data.js'
import { $, count, fill, give, make, pill, span } from './elements.js'
import { drawTable } from './table.js'

const fewProblems = 5
let showsAllProblems = false

export function drawSummary() {
  if (data.status) {
    drawHeader()
    drawVerdict()
    drawProblems()
    drawComponents()
  }
  const { lost } = data
  $('lost').hidden = lost === ''
  $('verdict').hidden = lost !== ''
  document.body.classList.toggle('away', lost !== '')
  // A text that stays the same is read out once.
  const since = data.heardAt > 0 ? ` What is below is from ${new Date(data.heardAt).toLocaleTimeString()}.` : ''
  const text = lost ? `No answer from Starlane: ${lost}. Is the process running?${since}` : ''
  if ($('lost-text').textContent !== text) $('lost-text').textContent = text
  drawTitle()
}

function drawHeader() {
  const { cluster, ready, stopping, waiting, version, startedAt, now } = data.status
  const state = data.lost
    ? pill('no answer', 'bad')
    : ready
      ? pill('ready', 'good')
      : pill(stopping ? 'stopping' : 'not ready', 'warn')
  const rest = ready ? `up ${span(now - startedAt)}` : `waiting for ${waiting.join(', ')}`
  fill('summary', make('b', cluster), ' ', state, data.lost ? '' : ` ${rest} · version ${version}`)
  fill('fresh', `${data.lost ? 'last answer' : 'as of'} ${new Date(data.heardAt).toLocaleTimeString()}`)
}

/** What is wrong, the worst first: text, kind, and the state of services that it filters by. */
function troubles() {
  const { services, problems, ready, stopping } = data.status
  const lost = lostClusters().length
  const ofOthers = severity =>
    problems.filter(
      each => each.severity === severity && !/^(SERVICE_UNREACHABLE|SERVICE_REDUCED|CLUSTER_)/.test(each.code),
    ).length
  return [
    !ready && { text: stopping ? 'stopping' : 'not ready', kind: 'bad' },
    services.unreachable > 0 && {
      text: `${count(services.unreachable, 'service')} unreachable`,
      kind: 'bad',
      state: 'unreachable',
    },
    lost > 0 && { text: `${count(lost, 'cluster')} lost`, kind: 'bad', state: 'lost' },
    ofOthers('error') > 0 && { text: count(ofOthers('error'), 'error'), kind: 'bad' },
    services.reduced > 0 && { text: `${count(services.reduced, 'service')} reduced`, kind: 'warn', state: 'reduced' },
    services.empty > 0 && {
      text: `${count(services.empty, 'service')} without backends`,
      kind: 'warn',
      state: 'empty',
    },
    ofOthers('warning') > 0 && { text: count(ofOthers('warning'), 'warning'), kind: 'warn' },
  ].filter(Boolean)
}

function drawVerdict() {
  const found = troubles()
  const { total } = data.status.services
  const calm = total === 0 ? 'No services yet.' : `All is well: ${count(total, 'service')} can be reached.`
  const parts = found.map(({ text, kind, state }) =>
    state ? filterButton(text, kind, state) : make(`span.fact.${kind}`, text),
  )
  const worst = found[0]?.kind ?? 'good'
  $('verdict').className = `card verdict ${worst}-edge`
  const focused = document.activeElement?.dataset.state
  fill('verdict', ...(parts.length > 0 ? parts : [make('span.fact.good', calm)]))
  if (focused !== undefined) $('verdict').querySelector(`[data-state="${focused}"]`)?.focus()
}

function filterButton(text, kind, state) {
  const button = give(make(`button.fact.${kind}`, text), {
    type: 'button',
    ariaPressed: `${view.state === state}`,
    title: 'Show only these services',
    onclick: () => {
      view.state = view.state === state ? '' : state
      writeAddress()
      drawVerdict()
      drawTable()
    },
  })
  button.dataset.state = state
  return button
}

function drawProblems() {
  const { problems } = data.status
  const shown = showsAllProblems ? problems : problems.slice(0, fewProblems)
  const cards = shown.map(({ code, where, message, severity }) => {
    const kind = severity === 'error' ? 'bad' : 'warn'
    return make(
      `li.problem.${kind}-edge`,
      make(`b.${kind}`, severity),
      ' ',
      make('b', where),
      ` ${message} `,
      make('code.soft', code),
    )
  })
  const rest = problems.length - fewProblems
  const more = give(make('button', showsAllProblems ? 'Show fewer' : `Show ${rest} more`), {
    type: 'button',
    onclick: () => {
      showsAllProblems = !showsAllProblems
      drawProblems()
    },
  })
  fill('problems', ...cards, ...(rest > 0 ? [make('li', more)] : []))
}

function drawComponents() {
  const kinds = { ok: 'good', warning: 'warn', error: 'bad', disabled: 'unsure' }
  const cards = data.status.components.map(({ name, state, detail }) => {
    const mark = pill(state === 'ok' ? 'OK' : state, kinds[state])
    return make('li.card', make('b.title', name, mark), make('span.soft.small', detail))
  })
  fill('components', ...cards)
}

function drawTitle() {
  const { status, lost } = data
  const worst = lost ? undefined : status && troubles()[0]
  const state = lost ? '✕ no answer · ' : worst ? `⚠ ${worst.text} · ` : ''
  document.title = `${state}Starlane${status ? ` · ${status.cluster}` : ''}`
  const color = lost ? '%237a7f99' : ({ bad: '%23d9364a', warn: '%23d08700' }[worst?.kind] ?? '%236d7dff')
  const path = lost
    ? `fill='none' stroke='${color}' stroke-width='3' d='M4 4l16 16M20 4L4 20'`
    : `fill='${color}' d='M12 1c.8 6.2 4.8 10.2 11 11-6.2.8-10.2 4.8-11 11-.8-6.2-4.8-10.2-11-11 6.2-.8 10.2-4.8 11-11z'`
  const href = `data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Cpath ${path}/%3E%3C/svg%3E`
  if ($('icon').getAttribute('href') !== href) $('icon').setAttribute('href', href)
}
