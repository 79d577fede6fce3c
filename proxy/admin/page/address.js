// What the part of the address after # names, so that a view can be shared: `#default/rebel-base?state=reduced&find=base`.

const defaults = { open: '', find: '', state: '', sort: 'state', group: '' }

export const view = { ...defaults }

export function readAddress() {
  const [open = '', query = ''] = location.hash.slice(1).split('?')
  Object.assign(view, defaults, { open: decodeURIComponent(open) })
  for (const [name, value] of new URLSearchParams(query)) if (name in defaults && name !== 'open') view[name] = value
}

export function writeAddress() {
  const query = new URLSearchParams()
  for (const name of ['state', 'find', 'sort', 'group']) if (view[name] !== defaults[name]) query.set(name, view[name])
  const open = view.open.split('/').map(encodeURIComponent).join('/')
  const hash = `${open}${query.size > 0 ? `?${query}` : ''}`
  if (hash !== location.hash.slice(1)) history.replaceState(null, '', hash ? `#${hash}` : location.pathname)
}
