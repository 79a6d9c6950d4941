// The dialog before many messages are asked again: how many, what it does, how far it is, what was refused.

import { make } from '../parts/dom.js';
import { RETRY_ALL_MAX } from './actions.js';
import { counted } from './words.js';

/** @import { Actions } from './actions.js' */

export class Bulk {
  /**
   * @param {HTMLDialogElement} dialog empty
   * @param {Actions} actions
   */
  constructor(dialog, actions) {
    this.dialog = dialog;
    this.actions = actions;
    /** @type {string[]} */
    this.ids = [];
    this.title = make('h2', { id: 'bulk-title' });
    this.words = make('p');
    this.told = make('p', { role: 'status' });
    this.bar = make('progress', { max: 1, value: 0, hidden: true, aria: { label: 'Asked again so far' } });
    this.go = make('button', { type: 'button', className: 'button' });
    this.leave = make('button', { type: 'button', className: 'button quiet' });
    dialog.setAttribute('aria-labelledby', 'bulk-title');
    dialog.append(this.title, this.words, this.bar, this.told, make('p', { className: 'deeds' }, this.go, this.leave));
    this.go.addEventListener('click', () => this.#run());
    this.leave.addEventListener('click', () => dialog.close());
  }

  /** @param {string[]} ids of what is shown, newest first */
  open(ids) {
    this.ids = ids.slice(0, RETRY_ALL_MAX);
    const many = counted(this.ids.length, 'message');
    this.title.textContent = `Ask again for ${many}?`;
    const rest = ids.length - this.ids.length;
    this.words.textContent = `Each goes back to the end of its lane, by an entry of its own in the log.${rest > 0 ? ` The other ${rest} stay as they are: ${RETRY_ALL_MAX} at once is the most.` : ''}`;
    this.told.textContent = '';
    this.bar.hidden = true;
    this.go.hidden = false;
    this.go.textContent = `Retry ${many}`;
    this.leave.textContent = 'Leave them';
    this.dialog.showModal();
    this.leave.focus();
  }

  async #run() {
    this.go.hidden = true;
    this.bar.hidden = false;
    this.bar.value = 0;
    this.leave.textContent = 'Close';
    this.leave.focus();
    const { retried, refused, stopped } = await this.actions.retryAll(this.ids, (done, of) => {
      this.bar.value = done / of;
    });
    const no = refused ? ` ${refused} refused: the reason stands at each.` : '';
    this.told.textContent = `${counted(retried, 'message')} asked again.${no}${stopped ? ` Stopped: ${stopped}` : ''}`;
  }
}
