// What the part of the address after # names, so that a view can be shared: `#default/rebel-base?state=reduced&find=base`.

import { $ } from './elements.js'

const defaults = { open: '', find: '', state: '', sort: 'state', group: '' }

export const view = { ...defaults }

/** What means nothing is left out: the address may have been written by hand, or by another version. */
export function readAddress() {
  const [open = '', query = ''] = location.hash.slice(1).split('?')
  Object.assign(view, defaults, { open: decoded(open) })
  for (const [name, value] of new URLSearchParams(query)) if (isChoice(name, value)) view[name] = value
}

function decoded(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function isChoice(name, value) {
  if (name === 'state' || name === 'sort') return [...$(name).options].some(option => option.value === value)
  return name === 'find' || name === 'group'
}

export function writeAddress() {
  const query = new URLSearchParams()
  for (const name of ['state', 'find', 'sort', 'group']) if (view[name] !== defaults[name]) query.set(name, view[name])
  const open = view.open.split('/').map(encodeURIComponent).join('/')
  const hash = `${open}${query.size > 0 ? `?${query}` : ''}`
  if (hash !== location.hash.slice(1)) history.replaceState(null, '', hash ? `#${hash}` : location.pathname)
}
