/** What a rehearsal reads: policies from files, and recorded flows. */
import { createReadStream } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { MeshError, messageOf } from '../../model/error.ts'
import type { FlowEvent } from '../../model/flow-record.ts'
import { type FlowGroups, groupFlows } from '../../model/flows/flow-groups.ts'

/** All policies of a large cluster; more is likely the wrong folder. */
const maxBytes = 16 << 20
const extensions: ReadonlySet<string> = new Set(['.yaml', '.yml', '.json'])

/** The text of a file, or of all manifests below a folder. Rejects with USAGE. */
export async function readManifests(path: string): Promise<{ path: string; text: string }[]> {
  try {
    const files = await filesIn(path)
    const sizes = await Promise.all(files.map(async file => (await stat(file)).size))
    if (files.length === 0) throw new Error('there is no .yaml, .yml or .json file in it')
    if (sizes.reduce((sum, size) => sum + size, 0) > maxBytes)
      throw new Error('it has more than 16 MiB; name the policies alone')
    return await Promise.all(files.map(async file => ({ path: file, text: await readFile(file, 'utf8') })))
  } catch (error) {
    throw new MeshError('USAGE', `--policy ${path} cannot be read: ${messageOf(error)}`, { cause: error })
  }
}

async function filesIn(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile() && extensions.has(extname(entry.name)))
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
}

/** A recording: one flow to a line, as `starlane observe -o json` prints it. Rejects with USAGE. */
export async function readRecording(path: string): Promise<FlowGroups> {
  const events: FlowEvent[] = []
  let line = 0
  try {
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      line++
      if (text.trim() === '') continue
      const event = JSON.parse(text) as FlowEvent
      if (!isFlowEvent(event)) throw new Error('is not a flow that Starlane has recorded')
      events.push(event)
    }
  } catch (error) {
    const where = line === 0 ? path : `${path}:${line}`
    throw new MeshError('USAGE', `--flows ${where} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  return groupFlows(events)
}

function isFlowEvent(event: unknown): event is FlowEvent {
  const { flow, lost_events: lost } = Object(event) as { flow?: unknown; lost_events?: { num_events_lost?: unknown } }
  if (lost !== undefined) return typeof lost?.num_events_lost === 'number'
  const { IP, source, starlane } = Object(flow) as {
    IP?: { source?: unknown }
    source?: unknown
    starlane?: { kind?: unknown }
  }
  return typeof IP?.source === 'string' && typeof source === 'object' && typeof starlane?.kind === 'string'
}
