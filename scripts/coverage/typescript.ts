/** Coverage of TypeScript: V8's own counts, of all processes and threads of a run. */
import { createRequire } from 'node:module'
import { relative } from 'node:path'
import type { Covered } from './table.ts'

/** The part of c8 and of istanbul's coverage map that is used; neither has types. */
interface FileCoverage {
  getUncoveredLines(): (number | string)[]
  readonly branchMap: Record<
    string,
    { readonly line?: number; readonly loc: { readonly start: { readonly line: number } } }
  >
  readonly b: Record<string, readonly number[]>
  toSummary(): { readonly lines: { readonly total: number }; readonly branches: { readonly total: number } }
}
interface CoverageMap {
  files(): string[]
  fileCoverageFor(file: string): FileCoverage
}
interface C8 {
  Report(options: object): { getCoverageMapFromAllCoverageFiles(): Promise<CoverageMap> }
}

/** Every file of proxy/ and plugins/, also those that nothing has loaded. */
export async function read(tempDirectory: string): Promise<Covered[]> {
  const { Report } = createRequire(import.meta.url)('c8') as C8
  const include = ['proxy/**/*.ts', 'plugins/**/*.ts']
  const given = {
    tempDirectory,
    include,
    exclude: [],
    extension: ['.ts'],
    excludeNodeModules: true,
    all: true,
    src: [process.cwd()],
  }
  const map = await Report({
    ...given,
    reporter: [],
    mergeAsync: true,
    resolve: '',
  }).getCoverageMapFromAllCoverageFiles()
  return map.files().map(path => {
    const found = map.fileCoverageFor(path)
    const { lines, branches } = found.toSummary()
    return {
      file: relative('', path),
      lines: lines.total,
      missedLines: found.getUncoveredLines().map(Number),
      branches: branches.total,
      missedBranches: Object.entries(found.b).flatMap(([id, counts]) =>
        counts.filter(count => count === 0).map(() => found.branchMap[id]?.loc.start.line ?? 0),
      ),
    }
  })
}
