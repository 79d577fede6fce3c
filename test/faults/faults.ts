/** One fault after the other under load, each with what failed, how soon it was noticed, and how soon all was well again. */
import { backendFaults } from '../../scripts/faults/backend-faults.ts'
import { killable } from '../../scripts/faults/faulty.ts'
import { handoverFaults } from '../../scripts/faults/handover-faults.ts'
import { connections, type Load } from '../../scripts/faults/load.ts'
import { machineFaults } from '../../scripts/faults/machine.ts'
import { processFaults } from '../../scripts/faults/process-faults.ts'
import { alsoText, type Fault, type FaultRow, failedText, sleep, until, verdict } from '../../scripts/faults/scene.ts'
import { type Engine, Stage } from '../../scripts/faults/stage.ts'
import { Waiting } from '../../scripts/faults/waiting.ts'
import { controlPlaneFaults } from './control-plane.ts'

export interface FaultsOptions {
  readonly engine: Engine
  readonly perSecond?: number
  readonly said?: (text: string) => void
  /** Only those whose name has this in it. */
  readonly name?: string
}

const all: readonly Fault[] = [
  ...backendFaults,
  ...controlPlaneFaults,
  ...machineFaults,
  ...processFaults,
  ...handoverFaults,
]

/** Those that this machine cannot do have a row that says why. */
export async function faults({ engine, perSecond = 200, said, name = '' }: FaultsOptions): Promise<FaultRow[]> {
  const rows: FaultRow[] = []
  for (const fault of all) {
    if (!fault.name.includes(name)) continue
    const why = fault.impossible?.()
    const row = why === undefined ? await one(fault, engine, perSecond) : skipped(fault, why)
    rows.push(row)
    said?.(`${engine}: ${JSON.stringify(row)}`)
  }
  return rows
}

function skipped({ name }: Fault, why: string): FaultRow {
  return { fault: name, load: '', failed: '', note: `not possible on this machine: ${why}` }
}

async function one(fault: Fault, engine: Engine, perSecond: number): Promise<FaultRow> {
  const stage = new Stage({ engine, drain: '1s' })
  const ips = [10, 11, 12].map(last => stage.ip(last))
  const [first = '', ...others] = ips
  const faulty = await (fault.backend ?? killable)(first)
  const further: { readonly name: string; readonly load: Load }[] = []
  let close = async () => {}
  try {
    for (const ip of others) await stage.echo(ip)
    stage.declare('tcp', { 'cluster-1': ips.slice(0, 2), 'cluster-2': ips.slice(2) })
    const prepared = await fault.prepare?.(stage, ips, engine)
    close = async () => prepared?.close?.()
    stage.write({ ...fault.config, ...prepared?.config } as Record<string, object>)
    const again = () => prepared?.run?.() ?? stage.run(undefined, prepared?.env)
    const starlane = again()
    await starlane.logged('ready')
    const isUp = await until(async () => (await verdict(stage, first)) === 'up', 20_000)
    if (isUp === undefined) throw new Error(`${fault.name}: its backend does not come up`)
    const load = connections(stage.tcp, perSecond)
    const waiting = new Waiting(() => [process.pid, ...stage.pids])
    close = async () => {
      waiting.stop()
      await prepared?.close?.()
    }
    await sleep(1000)
    const alsoUnder = (name: string, load: Load) => void further.push({ name, load })
    const { note, ...measured } = await fault.run({ stage, starlane, again, ips, alsoUnder }, faulty)
    await sleep(1000)
    const tally = await load.stop()
    const notes = [`slowest ${Math.round(tally.slowest)} ms`, note]
    const all = [tally]
    for (const { name, load } of further) {
      const also = await load.stop()
      all.push(also)
      notes.push(alsoText(name, also))
    }
    const starved = all.flatMap(({ losses }) => waiting.starved(losses)).length
    if (starved > 0) notes.push(`${starved} failed while this machine had no processor for them`)
    const row = { fault: fault.name, load: String(tally.asked), failed: failedText(tally), ...measured }
    return { ...row, note: notes.filter(Boolean).join('; ') }
  } catch (error) {
    return { fault: fault.name, load: '', failed: '', note: `could not be measured: ${(error as Error).message}` }
  } finally {
    faulty.close()
    await close()
    await stage.close()
  }
}
