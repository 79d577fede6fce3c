/** Runs one application in one deployment through all events, in order. */
import type { Application } from './application.ts'
import { events } from './events.ts'
import { type Given, Mesh } from './mesh.ts'
import { whyNoMachines } from './network.ts'
import { where } from './processes.ts'

export interface Finding {
  readonly event: string
  readonly seconds: number
  /** What was wrong. */
  readonly problem?: string
}

/** Why an application cannot be tried here. */
export function whyNot(application: Application): string | undefined {
  const missing = ['unshare', 'nsenter', 'ip', 'setpriv', ...application.needs].filter(program => !where(program))
  if (missing.length > 0) return `not installed: ${missing.join(', ')}`
  return application.missing?.() ?? whyNoMachines()
}

/** Stops at the first event that went wrong, because the next would begin in an unknown state. */
export async function examine(given: Given, only: readonly string[] = []): Promise<Finding[]> {
  const findings: Finding[] = []
  let mesh: Mesh | undefined
  const step = async (event: string, act: () => Promise<void>): Promise<boolean> => {
    const since = performance.now()
    const seconds = () => (performance.now() - since) / 1000
    try {
      await act()
      findings.push({ event, seconds: seconds() })
      return true
    } catch (error) {
      const log = mesh ? `\nlog of Starlane:\n${mesh.log.slice(-4000)}` : ''
      findings.push({ event, seconds: seconds(), problem: `${(error as Error).stack}${log}` })
      return false
    }
  }
  const opened = await step('start', async () => {
    mesh = await Mesh.open(given)
  })
  try {
    if (!mesh || !opened) return findings
    const open: Mesh = mesh
    const all = { ...events, ...given.application.own }
    for (const [name, event] of Object.entries(all)) {
      if (only.length > 0 && !only.includes(name)) continue
      if (!(await step(name, () => event(open)))) break
    }
  } finally {
    await mesh?.close()
  }
  return findings
}
