/** The steps of the demo: what each does and what must be observed. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Board } from './board.ts'
import { type Answer, Caller } from './caller.ts'
import { scaleDeployment } from './pods.ts'
import type { Stage } from './stage.ts'

/** How many answers are enough to judge a step. */
const enough = 60
const timeoutMs = 20_000

interface Scene {
  readonly caller: Caller
  readonly stage: Stage
  readonly board: Board
}

export function createCaller(stage: Stage): Caller {
  return new Caller({
    name: 'rebel-base.default.svc.cluster.local',
    port: stage.port,
    dns: stage.dns,
    workers: 2,
    pauseMs: 15,
  })
}

/** Runs all steps. True only if each held and no request failed. */
export async function runSteps(scene: Scene): Promise<boolean> {
  const steps = [bothAnswer, scaledToZero, scaledBack, killed]
  scene.caller.start()
  let good = true
  for (const [i, step] of steps.entries()) {
    if (scene.caller.stopped) return false
    const before = scene.caller.failures.length
    scene.board.step(i + 1, step.title)
    const shown = await step.run(scene)
    const failed = scene.caller.failures.length - before
    scene.board.outcome(shown.good && failed === 0, `${shown.detail}; ${failed} failed`)
    good &&= shown.good && failed === 0
  }
  await scene.caller.stop()
  return good
}

interface Step {
  readonly title: string
  run(scene: Scene): Promise<{ good: boolean; detail: string }>
}

const bothAnswer: Step = {
  title: 'The x-wing requests rebel-base in a loop: both clusters answer',
  run: async ({ caller }) => {
    const seen = await answersUntil(caller, answers => answers.length >= enough && shares(answers).every(n => n > 0))
    return { good: seen !== undefined, detail: summaryOf(seen ?? caller.answers) }
  },
}

const scaledToZero: Step = {
  title: 'cluster-2 is scaled to 0 while requests run: only cluster-1 answers',
  run: async ({ caller, stage }) => {
    await scaleDeployment(clusterTwo(stage).cluster.folder, 0)
    const seen = await answersUntil(
      caller,
      answers => answers.slice(-enough).length === enough && shares(answers.slice(-enough))[1] === 0,
    )
    return { good: seen !== undefined, detail: `afterwards ${summaryOf((seen ?? caller.answers).slice(-enough))}` }
  },
}

const scaledBack: Step = {
  title: 'cluster-2 is scaled back to 2: both answer again',
  run: async ({ caller, stage }) => {
    await gone(stage)
    await scaleDeployment(clusterTwo(stage).cluster.folder, 2)
    const seen = await answersUntil(caller, answers => shares(answers.slice(-enough)).every(n => n >= enough / 4))
    return { good: seen !== undefined, detail: `afterwards ${summaryOf((seen ?? caller.answers).slice(-enough))}` }
  },
}

const killed: Step = {
  title: 'a pod of cluster-1 is killed while its EndpointSlice says ready: no request fails',
  run: async ({ caller, stage, board }) => {
    const [one] = stage.clusters
    if (!one) return { good: false, detail: 'the demo has no cluster-1' }
    // Between two requests: no proxy can save a request that has already reached the killed process.
    const pod = await caller.between(() => one.kill())
    board.line(`   ${pod.name} is killed, its EndpointSlice still says ready`)
    const seen = await answersUntil(
      caller,
      answers => answers.length >= 3 * enough && shares(answers).every(n => n > 0),
    )
    const verdict = await healthOf(stage, pod)
    one.restart()
    const good =
      seen !== undefined &&
      !seen.some(answer => answer.pod === pod.name) &&
      (verdict === 'down' || verdict === 'ejected')
    return { good, detail: `${summaryOf(seen ?? caller.answers)}; Starlane reports ${pod.name} ${verdict}` }
  },
}

/** The answers from now on, as soon as `enoughOf` accepts them; undefined after the timeout. */
async function answersUntil(caller: Caller, enoughOf: (answers: Answer[]) => boolean): Promise<Answer[] | undefined> {
  const from = caller.answers.length
  const deadline = performance.now() + timeoutMs
  while (performance.now() < deadline && !caller.stopped) {
    const answers = caller.answers.slice(from)
    if (enoughOf(answers)) return answers
    await sleep(20)
  }
  return undefined
}

async function gone(stage: Stage): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (clusterTwo(stage).ready > 0 && performance.now() < deadline) await sleep(20)
}

/** The health of a pod's backend as Starlane reports it; waits until it is down or ejected, or the timeout ends. */
async function healthOf(stage: Stage, pod: { readonly ip: string }): Promise<string> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const service = (await fetch(`http://${stage.admin}/v1/services/default/rebel-base`).then(r => r.json())) as {
      backends: { address: string; health: string }[]
    }
    const health = service.backends.find(b => b.address === pod.ip)?.health ?? 'unknown'
    if (health === 'down' || health === 'ejected' || performance.now() > deadline) return health
    await sleep(50)
  }
}

function clusterTwo(stage: Stage) {
  const pods = stage.clusters[1]
  if (!pods) throw new Error('the demo has two clusters')
  return pods
}

function shares(answers: readonly Answer[]): [number, number] {
  const one = answers.filter(answer => answer.cluster === 'Cluster-1').length
  return [one, answers.length - one]
}

function summaryOf(answers: readonly Answer[]): string {
  const [one, two] = shares(answers)
  return `${answers.length} answers: ${one} from cluster-1, ${two} from cluster-2`
}
