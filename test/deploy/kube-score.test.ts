/** What kube-score says of the overlays and the chart is known, with its reason, in deploy/kube-score.yaml. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { kustomize, ways } from '../../scripts/chart.ts'
import { needsKustomize } from '../support/kubectl.ts'

const kubeScore = process.env.STARLANE_KUBE_SCORE ?? 'kube-score'
const works = (program: string) => spawnSync(program, ['version']).status === 0
const needs = works(kubeScore)
  ? needsKustomize
  : { skip: 'kube-score is neither on the PATH nor at STARLANE_KUBE_SCORE' }

interface Known {
  readonly check: string
  readonly way: string
  readonly container?: string
  readonly finding: string
  readonly why: string
}

interface Scored {
  readonly object_name: string
  readonly checks: readonly {
    readonly check: { readonly id: string }
    /** 10 is good. */
    readonly grade: number
    readonly skipped: boolean
    readonly comments: readonly { readonly path: string; readonly summary: string }[] | null
  }[]
}

const known: Known[] = parse(readFileSync('deploy/kube-score.yaml', 'utf8'))
const used = new Set<Known>()

/** Findings that are not known, one line each. */
function findings(way: string, manifests: string): string[] {
  const { stdout, stderr } = spawnSync(kubeScore, ['score', '--kubernetes-version', 'v1.32', '-o', 'json', '-'], {
    input: manifests,
    encoding: 'utf8',
  })
  if (!stdout) throw new Error(stderr)
  const scored: Scored[] | null = JSON.parse(stdout)
  // Null without a Pod.
  return (scored ?? []).flatMap(({ object_name, checks }) =>
    checks
      .filter(({ grade, skipped }) => !skipped && grade < 10)
      .flatMap(({ check, comments }) => (comments ?? []).map(comment => ({ id: check.id, ...comment })))
      .filter(({ id, path, summary }) => {
        const entry = known.find(
          ({ check, way: where, container = path, finding }) =>
            check === id && (where === '*' || where === way) && container === path && finding === summary,
        )
        if (entry) used.add(entry)
        return !entry
      })
      .map(({ id, path, summary }) => `${way}: ${object_name} ${path}: ${summary} (${id})`),
  )
}

t.test('the overlays', needs, async t => {
  for (const way of ways) t.same(findings(way, kustomize(`deploy/overlays/${way}`)), [], way)
  t.same(
    known.filter(entry => !used.has(entry)),
    [],
    'and no entry is left over',
  )
})

t.test('the chart', works('helm') ? needs : { skip: 'helm is not installed' }, async t => {
  for (const way of ways) {
    const args = ['template', 'x', 'deploy/helm', '-n', 'starlane', '--kube-version', '1.32.0', '--set', `way=${way}`]
    t.same(findings(way, spawnSync('helm', args, { encoding: 'utf8' }).stdout), [], way)
  }
})

t.test('each has its reason', async t => {
  for (const { check, why } of known) t.match(why, /^[A-Z`t].{10,}\.$/, check)
})
