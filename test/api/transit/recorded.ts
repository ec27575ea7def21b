/**
 * What a real Vault 1.21.2 answered to the corpus, without what no two answers share: for a machine that has no Vault. The file is made anew by
 * `SELLO_RECORD=1 node test/api/transit/differential.test.ts`, and every run beside a real Vault holds it against that one's answers.
 */
import { readFile, writeFile } from 'node:fs/promises';
import type { Group } from './corpus.ts';

const file = new URL('../../wire/transit/vault-1.21.2.json', import.meta.url);

/** Answers repeat: each is written once, and a step names its line. */
interface Recording {
  readonly answers: readonly unknown[];
  readonly groups: Readonly<Record<string, readonly (readonly [ask: string, answer: number])[]>>;
}

export class RecordedVault {
  readonly #recording: Recording;

  private constructor(recording: Recording) {
    this.#recording = recording;
  }

  static async read(): Promise<RecordedVault> {
    return new RecordedVault(JSON.parse(await readFile(file, 'utf8')) as Recording);
  }

  /** @throws Error for a step that was not there when the recording was made */
  answerTo({ name, steps }: Group, index: number): unknown {
    const [ask, answer] = this.#recording.groups[name]?.[index] ?? [];
    if (ask !== steps[index]!.ask || answer === undefined)
      throw new Error(`${name}, ${steps[index]!.ask}: not recorded; see ${import.meta.filename}`);
    return this.#recording.answers[answer];
  }
}

export class Recorder {
  readonly #answers = new Map<string, number>();
  readonly #groups: Record<string, [string, number][]> = {};

  add({ name, steps }: Group, index: number, answer: unknown): void {
    const text = JSON.stringify(answer);
    const at = this.#answers.get(text) ?? this.#answers.size;
    this.#answers.set(text, at);
    (this.#groups[name] ??= []).push([steps[index]!.ask, at]);
  }

  async write(): Promise<void> {
    const answers = [...this.#answers.keys()].join(',\n');
    const groups = Object.entries(this.#groups).map(
      ([name, steps]) => `${JSON.stringify(name)}:${JSON.stringify(steps)}`,
    );
    await writeFile(file, `{"answers":[\n${answers}\n],"groups":{\n${groups.join(',\n')}\n}}\n`);
  }
}
