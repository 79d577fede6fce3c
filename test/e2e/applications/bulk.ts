/** Many bytes in both directions of one connection at once. */
import { join } from 'node:path'
import type { Application, Place, Stage, Target } from './support/application.ts'

const port = 9000
const file = (name: string) => join(import.meta.dirname, 'programs', name)

export const bulk: Application = {
  name: 'bulk',
  needs: ['nc'],
  port,
  protocols: ['TCP'],
  server: ({ ip, name }) => [process.execPath, file('bulk-server.ts'), ip, `${port}`, name],
  once: async (place, { host }) => (await place.run(['nc', '-N', host, `${port}`], { input: 'name\n' })).trim(),
  session: async (place, { host }) => {
    const client = place.open(['nc', '-N', host, `${port}`])
    client.say('lines')
    let count = 0
    return {
      use: async timeoutMs => {
        client.say(`${++count}`)
        return (await client.hear(new RegExp(`^([a-z]+) ${count}$`), timeoutMs))[1] ?? ''
      },
      close: () => client.kill(),
    }
  },
  own: { 'both ways': bothWays },
}

/** All bytes arrive while the pods are not ready, then terminating, and Starlane reloads. */
async function bothWays(stage: Stage): Promise<void> {
  const transfer = open(stage.pod, stage.target, stage.bulkBytes)
  await transfer.hear(/^open$/)
  for (const state of ['unready', 'terminating', 'ready'] as const) await stage.declare({ one: state, two: state })
  await stage.reload({ balancer: 'random' })
  const [result] = await transfer.hear(/^(whole|sent .*)$/, 600_000)
  if (result !== 'whole') throw new Error(result)
}

const open = (place: Place, { host, port }: Target, bytes: number) =>
  place.open([process.execPath, file('bulk-client.ts'), host, `${port}`, `${bytes}`])
