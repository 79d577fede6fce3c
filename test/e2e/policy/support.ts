/** Command lines of a rehearsal, as a user types them. */
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
