/** What tests of policies share: command lines of a rehearsal, as a user types them, and an address of this machine. */
import { networkInterfaces } from 'node:os'
import { runProgram } from '../../../proxy/cli/program.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'

export async function rehearse(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []]
  const io = {
    stdout: { write: (text: string) => out.push(text) },
    stderr: { write: (text: string) => err.push(text) },
    env: {},
    clock: systemClock,
    process: process,
  }
  const code = await runProgram(['rehearse', ...argv], io)
  return { code, out: out.join(''), err: err.join('') }
}

const interfaces = Object.values(networkInterfaces()).flatMap(each => each ?? [])
/** An address of this machine that is not of loopback; empty if it has none. */
export const ownAddress = interfaces.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? ''
export const fromOutside = { skip: ownAddress === '' && 'only loopback here' }
