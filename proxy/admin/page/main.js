// Asks every two seconds, draws, and listens to keys and controls.

import { readAddress, view } from './address.js'
import { drawClusters, drawLanes } from './clusters.js'
import { askAll, data } from './data.js'
import { $, fill, role } from './elements.js'
import { drawServiceMap, drawThreads } from './servicemap.js'
import { drawSummary } from './summary.js'
import { changeView, drawTable, fillControls, moveFocus, pauseDetail, place, showOpen } from './table.js'

let timer
let asking = false
/** Whether the address has come to name a service whose row has not been brought into view. */
let arrives = true

async function refresh() {
  if (asking || document.hidden || paused()) return
  asking = true
  const began = performance.now()
  try {
    await askAll()
    data.lost = ''
    data.heardAt = Date.now()
  } catch (error) {
    data.lost = whyLost(error)
  }
  drawAll()
  asking = false
  clearTimeout(timer)
  // Less often if it takes long, so that watching a large mesh stays cheap.
  timer = setTimeout(refresh, 2000 + 10 * (performance.now() - began))
}

/** A browser says little of a connection that fails, each in words of its own. */
function whyLost(error) {
  if (error.name === 'TimeoutError') return 'no answer within 10 s'
  return error instanceof TypeError ? 'the connection failed' : error.message
}

function drawAll() {
  drawSummary()
  if (!data.status) return
  drawClusters()
  drawServiceMap(openRow)
  drawTable()
  if (arrives) showOpen()
  arrives = false
}

/** Shows a service that may be anywhere in the list. */
function openRow(key) {
  changeView({ open: key, find: key.slice(key.indexOf('/') + 1), state: '' })
  fillControls()
  $('services-title').scrollIntoView()
}

function paused() {
  return $('pause').ariaPressed === 'true'
}

$('pause').addEventListener('click', () => {
  $('pause').ariaPressed = `${!paused()}`
  fill('pause', paused() ? 'Resume' : 'Pause')
  pauseDetail(paused())
  refresh()
})
$('find').addEventListener('input', () => changeView({ find: $('find').value }))
$('sort').addEventListener('change', () => changeView({ sort: $('sort').value }))
$('group').addEventListener('change', () => changeView({ group: $('group').checked ? '1' : '' }))
$('state').addEventListener('change', () => {
  changeView({ state: $('state').value })
  drawSummary()
})
$('rows').addEventListener('keydown', event => {
  if (event.target.classList.contains('toggle')) moveFocus(event)
})
addEventListener('keydown', event => {
  if (event.key === '/' && !/INPUT|SELECT/.test(document.activeElement?.tagName)) {
    event.preventDefault()
    $('find').focus()
  } else if (event.key === 'Escape') {
    changeView(view.open ? { open: '' } : { find: '', state: '' })
    fillControls()
    if (data.status) drawSummary()
  }
})
addEventListener('hashchange', () => {
  readAddress()
  fillControls()
  if (data.status) drawAll()
  showOpen()
})
addEventListener('scroll', place, { passive: true })
addEventListener('resize', () => {
  drawLanes()
  drawThreads()
  drawTable()
})
document.addEventListener('visibilitychange', refresh)
// A table of grids: the elements of tables would lose these roles by their style.
const roles = {
  table: 'table',
  'head-group': 'rowgroup',
  heads: 'row',
  rows: 'rowgroup',
  shown: 'status',
  verdict: 'group',
}
for (const [id, name] of Object.entries(roles)) role(name, $(id))
$('table').ariaLabel = 'Services'
$('verdict').ariaLabel = 'What is wrong'
readAddress()
fillControls()
refresh()
