/** WebSocket: Node's own client against the server of Python's websockets. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { Application } from './support/application.ts'
import { callsBy, sessionBy } from './support/client-program.ts'

const port = 8080
const program = join(import.meta.dirname, 'programs/websocket-client.ts')
const python = '/usr/bin/python3'

export const websocket: Application = {
  name: 'websocket',
  needs: ['python3'],
  missing: () =>
    spawnSync(python, ['-c', 'import websockets']).status === 0 ? undefined : 'not installed: python3-websockets',
  port,
  protocols: ['TCP'],
  server: ({ ip, name }) => [python, join(import.meta.dirname, 'programs/websocket-server.py'), ip, `${port}`, name],
  once: callsBy(program),
  session: sessionBy(program),
}
