/** Receives one line of plain text for each step that may take longer than a moment. */
export type Progress = (line: string) => void;

/** Writes to stderr, so that a program's figures on stdout stay clean. */
export const toStderr: Progress = (line) => {
  process.stderr.write(`${line}\n`);
};

export const silent: Progress = () => {};
