// What is known: the last answers of /v1/status, /v1/rows and /v1/traffic.

export const data = {
  status: undefined,
  /** Rows by `namespace/name`. */
  rows: new Map(),
  /** Traffic by `namespace/name`. */
  traffic: new Map(),
  clusters: new Map(),
  clients: [],
  historyMs: 5000,
  /** When the last answer came. */
  heardAt: 0,
  /** Why there is none now. */
  lost: '',
}

/** Of rows and traffic. */
const seen = { rows: '', traffic: '' }

export async function askAll() {
  const [status, rows, traffic] = await Promise.all([
    ask('v1/status'),
    ask(`v1/rows?since=${seen.rows}`),
    ask(`v1/traffic?since=${seen.traffic}`),
  ])
  seen.rows = change(data.rows, rows)
  seen.traffic = change(data.traffic, traffic)
  data.status = status
  data.clusters = new Map(traffic.clusters.map(each => [each.cluster, each]))
  data.clients = traffic.clients
  data.historyMs = traffic.historyMs
}

/** Makes the changes of an answer in a map by key, and returns its revision. */
function change(map, { revision, whole, rows, gone }) {
  if (whole) map.clear()
  for (const row of rows) map.set(keyOf(row), row)
  for (const key of gone) map.delete(key)
  return revision
}

export async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(10_000) })
  if (response.ok) return response.json()
  const { error } = await response.json().catch(() => ({}))
  throw new Error(error?.message ?? `${path} answers ${response.status}`)
}

export function keyOf({ namespace, name }) {
  return `${namespace}/${name}`
}

/** The names of clusters that cannot be read. */
export function lostClusters() {
  const clusters = data.status?.clusters ?? []
  return clusters.filter(({ link }) => link.state === 'lost' || link.state === 'stale').map(({ name }) => name)
}

/** Bytes or new connections in the last seconds. */
export function isMoving(rates) {
  return rates !== undefined && rates.perSecond + rates.sentPerSecond + rates.receivedPerSecond > 0
}
