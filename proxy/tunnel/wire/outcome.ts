/** What an error of a socket call says of a backend. */

/** The name of the errno; empty when the error has none. */
export function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : ''
}

export function outcomeOf(error: Error): 'refused' | 'timeout' | 'unreachable' | 'local' {
  return outcomes[codeOf(error)] ?? 'unreachable'
}

const outcomes: Readonly<Record<string, 'refused' | 'timeout' | 'local'>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'refused',
  ETIMEDOUT: 'timeout',
  EADDRNOTAVAIL: 'local',
  EADDRINUSE: 'local',
  EMFILE: 'local',
  ENFILE: 'local',
  ENOBUFS: 'local',
  ENOMEM: 'local',
}
