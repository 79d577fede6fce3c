/** OpenSSH: commands, a session that stays, and scp of a file both ways. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Application, Stage, Target } from './support/application.ts'
import { run } from './support/processes.ts'

const port = 2222

const options = (shared: string) => [
  ...['-i', join(shared, 'client'), '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR'],
  ...[
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'UserKnownHostsFile=/dev/null',
    '-o',
    'ConnectTimeout=45',
    '-F',
    '/dev/null',
  ],
]
const ssh = (shared: string, { host, port }: Target, command: string) => [
  ...['ssh', ...options(shared), '-p', `${port}`, `root@${host}`, command],
]

export const openssh: Application = {
  name: 'ssh',
  needs: ['sshd', 'ssh', 'scp', 'ssh-keygen'],
  port,
  protocols: ['TCP'],
  prepare: async folder => {
    await mkdir('/run/sshd', { recursive: true })
    for (const name of ['host', 'client'])
      await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)])
  },
  server: async ({ ip, name, folder }, shared) => {
    const file = join(folder, 'sshd_config')
    // With a home of its own: what root's shell would do first, by its ~/.bashrc, is not part of this test.
    const lines = [
      ...[`ListenAddress ${ip}:${port}`, `HostKey ${shared}/host`, `AuthorizedKeysFile ${shared}/client.pub`],
      ...[
        'StrictModes no',
        'UsePAM no',
        'PermitRootLogin yes',
        'PidFile none',
        `SetEnv POD=${name} HOME=${folder}`,
        'UseDNS no',
      ],
      ...['MaxStartups 100', 'Subsystem sftp internal-sftp', ''],
    ]
    await writeFile(file, lines.join('\n'))
    return ['/usr/sbin/sshd', '-D', '-e', '-f', file]
  },
  once: async (place, to, shared) => (await place.run(ssh(shared, to, 'echo $POD'))).trim(),
  session: async (place, to, { shared }) => {
    const client = place.open(ssh(shared, to, 'while read -r line; do echo "$POD $line"; done'))
    let count = 0
    return {
      use: async timeoutMs => {
        client.say(`${++count}`)
        return (await client.hear(new RegExp(`^([a-z]+) ${count}$`), timeoutMs))[1] ?? ''
      },
      close: () => client.kill(),
    }
  },
  own: { scp },
}

/** A file there and back, while the pods are first not ready, then terminating, and Starlane reloads. */
async function scp(stage: Stage): Promise<void> {
  const [there, back] = [join(stage.folder, 'there'), join(stage.folder, 'back')]
  const file = join(stage.folder, 'file')
  await writeFile(file, randomBytes(64 * 1024 * 1024))
  const copy = (from: string, to: string) =>
    stage.pod.run(['scp', '-q', '-P', `${port}`, ...options(stage.shared), from, to], { timeoutMs: 120_000 })
  const remote = (path: string) => `root@${stage.target.host}:${path}`
  const copies = (async () => {
    await copy(file, remote(there))
    await copy(remote(there), back)
  })()
  copies.catch(() => {})
  for (const state of ['unready', 'terminating', 'ready'] as const) await stage.declare({ one: state, two: state })
  await stage.reload({ balancer: 'random' })
  await copies
  const hash = async (path: string) =>
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
  assert.equal(await hash(back), await hash(file))
}
