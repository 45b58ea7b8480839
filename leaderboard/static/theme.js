/* Light or dark: follows the system until the reader chooses; the choice is kept where the browser lets us keep it. */
(function () {
  'use strict';

  const CHOICES = ['system', 'light', 'dark'];
  const KEPT = 'molebench-theme';
  const root = document.documentElement;

  /** The choice that was kept, else the system's. */
  function kept() {
    try {
      const found = localStorage.getItem(KEPT);
      return CHOICES.includes(found) ? found : 'system';
    } catch {
      return 'system'; // storage may be switched off, and often is for files
    }
  }

  /** Keeps a choice for the next page, where that is allowed. */
  function keep(choice) {
    try {
      localStorage.setItem(KEPT, choice);
    } catch {
      // without storage the choice holds for this page
    }
  }

  /** Puts a choice into effect; style.css and chart.js read it from the root. */
  function wear(choice) {
    if (choice === 'system') delete root.dataset.theme;
    else root.dataset.theme = choice;
  }

  /** Says on the button what is chosen. */
  function label(button, choice) {
    button.textContent = `Theme: ${choice}`;
  }

  /** The button that goes from one choice to the next. */
  function button() {
    const made = document.createElement('button');
    made.type = 'button';
    made.className = 'theme';
    let choice = kept();
    label(made, choice);
    made.addEventListener('click', () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      keep(choice);
      wear(choice);
      label(made, choice);
      document.dispatchEvent(new Event('molebench:theme'));
    });
    return made;
  }

  wear(kept());
  document.addEventListener('DOMContentLoaded', () => {
    const place = document.querySelector('header.site, body > header');
    if (place) place.append(button());
  });
})();
