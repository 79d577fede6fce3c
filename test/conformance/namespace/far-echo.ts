/** Another host for a child in a network namespace of its own: an echo server at the other end of a veth. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { Backend } from '../../../proxy/model/backend.ts'
import { backend } from '../../support/model.ts'

/** The arguments of unshare(1) that begin a namespace with a loopback device, before the command to run in it. */
export const inNamespace: readonly string[] = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']

/** Why no child can have another host here; false where it can. */
export function lacksFarHosts(): string | false {
  const veth = ['ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far']
  const allowed =
    spawnSync('unshare', [...inNamespace, ...veth]).status === 0 && !spawnSync('nsenter', ['--version']).error
  return allowed ? false : 'no network namespace with a veth is allowed here'
}

export interface FarEcho {
  /** The address of this end. */
  readonly here: string
  readonly backend: Backend
  /** Runs a command on the other host and returns what it prints. */
  inside(...command: string[]): string
  stop(): void
}

export async function startFarEcho(): Promise<FarEcho> {
  const [here, there] = ['10.200.0.1', '10.200.0.2']
  const server = spawn(
    'unshare',
    [
      '-n',
      process.execPath,
      '-e',
      `
      process.stdin.once('data', () => require('node:net')
        .createServer(socket => socket.on('data', data => socket.write(data)).on('error', () => {}))
        .listen(9000, () => console.log('listening')))
      console.log('ready')`,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  await once(server.stdout, 'data')
  const inside = (...command: string[]) =>
    execFileSync('nsenter', ['-t', String(server.pid), '-n', ...command], { encoding: 'utf8' })
  execFileSync('ip', ['link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', String(server.pid)])
  execFileSync('ip', ['addr', 'add', `${here}/24`, 'dev', 'near'])
  execFileSync('ip', ['link', 'set', 'near', 'up'])
  inside('ip', 'addr', 'add', `${there}/24`, 'dev', 'far')
  inside('ip', 'link', 'set', 'far', 'up')
  server.stdin.write('go')
  await once(server.stdout, 'data')
  return { here, backend: backend({ address: there, port: 9000 }), inside, stop: () => void server.kill('SIGKILL') }
}
